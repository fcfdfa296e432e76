"""Names to addresses: hosts file, cache, then DNS servers; each name is asked for once at a time.

A stub resolver on trio sockets instead of getaddrinfo in threads: its questions can be bounded and
counted, for all workers of a machine together, and a list of a million hosts does not flood the
server. Answers are kept, failures are not: see `dns_fault`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random, SystemRandom
from typing import NamedTuple

import trio

from img2ds.congestion.dns_names import DnsNames
from img2ds.congestion.gate import Gate, Numbers
from img2ds.congestion.machine import Machine
from img2ds.congestion.signals import Limit, Signal
from img2ds.core.failure import Reason
from img2ds.core.img2dataset_messages import UNKNOWN_HOST
from img2ds.net.deadline import Deadline
from img2ds.net.dns import RecordType
from img2ds.net.dns_canary import Canary
from img2ds.net.dns_config import DnsConfig, address_family, has_ipv6_route
from img2ds.net.dns_exchange import Exchange, Outcome, Result
from img2ds.net.dns_fault import FailureShare
from img2ds.net.dns_lookup import LookUp, Surroundings, exchange
from img2ds.net.dns_server import DnsServer
from img2ds.net.error import FetchError

#: Questions in flight at once where nobody controls it, and in one process at most. Common home
#: routers and local forwarders take 150.
UNCONTROLLED, MAX_QUESTIONS = 64, 256
#: Seconds that an answer is kept at least and at most: a dataset's hosts do not move in a minute.
MIN_TTL, MAX_TTL = 60.0, 3600.0
#: Seconds that "no such name" is kept at most.
MAX_NOT_FOUND_TTL = 600.0
#: Seconds for which a name that failed is asked for once, not until it is clear whose fault it is.
SUSPECT_TIME = 60.0
#: Seconds between two looks at what other workers have found.
WATCH_INTERVAL = 0.05
#: A name that every recursive server knows.
PROBE_NAME = "a.root-servers.net"
#: Names kept at most, about 350 bytes each.
MAX_NAMES = 50_000


class _Entry(NamedTuple):
    """The addresses of a name; none where there is no such name."""

    expires: float
    addresses: tuple[str, ...]


class Resolver:
    """A caching stub resolver. Use from one trio run, at whose end its sockets close.

    Args:
        config: servers and hosts file.
        timeout: seconds that a name without an answer takes, when others are answered.
        ipv6: whether to ask for AAAA records; with None, only when there is an IPv6 route.
        seed: of the message numbers; None for unpredictable ones, as RFC 5452 requires.
        machine: counts questions and limits them; None for a worker alone.
        names: the answers that the machine's workers share.
    """

    def __init__(
        self,
        config: DnsConfig,
        timeout: float,
        ipv6: bool | None = None,
        seed: int | None = None,
        machine: Machine | None = None,
        names: DnsNames | None = None,
    ) -> None:
        if machine is None:
            machine = Machine()
            machine.limits[Limit.DNS] = UNCONTROLLED
        six = has_ipv6_route() if ipv6 is None else ipv6
        random = SystemRandom() if seed is None else Random(seed)
        share = FailureShare()
        self._names = names
        self._entries: dict[str, _Entry] = {}
        self._look_ups: dict[str, LookUp] = {}
        self._watches = False
        self._suspects: dict[str, float] = {}
        self._shared = Surroundings(
            config=config,
            servers=[DnsServer(a, random, config.timeout, timeout) for a in config.servers],
            kinds=(RecordType.AAAA, RecordType.A) if six else (RecordType.A,),
            timeout=timeout,
            machine=machine,
            slots=trio.Semaphore(MAX_QUESTIONS),
            gate=Gate(
                machine,
                Numbers(Signal.DNS_IN_FLIGHT, Signal.WAITING_DNS, Limit.DNS, rate=Limit.DNS_RATE),
            ),
            share=share,
            canary=Canary(share, self._ask_again, partial(machine.total, Signal.DNS_ANSWERED)),
            random=random,
        )

    async def resolve(self, host: str, deadline: Deadline | None = None) -> Sequence[str]:
        """Return the addresses of `host`, in the order to try them; a literal is its own address.

        Args:
            deadline: gets back the time in which no question could be asked.

        Raises:
            FetchError: dns_not_found, dns_timeout, dns_failure or no_descriptors.
        """
        known = self.known(host)
        if known is not None:
            return known
        look_up = self._look_ups.get(host)
        if look_up is None:
            look_up = await self._begin(host)
        return _some(await self._wait(look_up, deadline))

    def known(self, host: str) -> Sequence[str] | None:
        """Return what `resolve` does, if nobody needs to be asked, else None.

        Raises:
            FetchError: dns_not_found.
        """
        addresses = self._find(host)
        return None if addresses is None else _some(addresses)

    async def answers(self, timeout: float) -> bool:
        """Return whether any name server answers now; asks beyond all limits, for a root server."""
        answered = False

        async def ask(server: DnsServer, scope: trio.CancelScope) -> None:
            nonlocal answered
            exchange = Exchange([server], PROBE_NAME, (RecordType.A,), lambda result: None)
            if (await exchange.run()).is_answer:
                answered = True
                scope.cancel()

        with trio.move_on_after(timeout):
            async with trio.open_nursery() as nursery:
                for server in self._shared.servers:
                    nursery.start_soon(ask, server, nursery.cancel_scope)
        return answered

    def close(self) -> None:
        """Close the sockets; answers that are still to come are lost."""
        for server in self._shared.servers:
            server.sockets.close()

    def _find(self, host: str) -> tuple[str, ...] | None:
        """Return what is known without asking; nothing in it when there is no such name."""
        config = self._shared.config
        if host in config.hosts:
            return config.hosts[host]
        entry = self._entries.get(host)
        if entry is not None and entry.expires >= trio.current_time():
            return entry.addresses
        # Neither letters at the end nor a name without a colon are those of an address.
        may_be_address = not host[-1:].isalpha() or ":" in host
        if may_be_address and address_family(host) is not None:
            return (host,)
        if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 6.3
            return ("127.0.0.1",)
        known = self._known(host)
        return None if known is None else known.addresses

    def _known(self, host: str) -> Result | None:
        """Return the answer that another worker of the machine has found."""
        found = None if self._names is None else self._names.find(host)
        if found is None:
            return None
        addresses, seconds = found
        self._keep(host, addresses, seconds)
        return Result(Outcome.FOUND if addresses else Outcome.NOT_FOUND, addresses, int(seconds))

    async def _begin(self, host: str) -> LookUp:
        """Begin to look a name up, and return once it is answered, or goes on by itself."""
        suspect = self._suspects.get(host, -SUSPECT_TIME)
        once = trio.current_time() < suspect + SUSPECT_TIME
        look_up = self._look_ups[host] = LookUp(self._shared, host, self._store, once=once)
        answered = False
        try:
            answered = await look_up.ask_at_once()
        finally:
            if answered:
                del self._look_ups[host]
            else:
                self._go_on(look_up)
        return look_up

    def _go_on(self, look_up: LookUp) -> None:
        trio.lowlevel.spawn_system_task(self._run, look_up)
        if self._names is not None and not self._watches:
            self._watches = True
            trio.lowlevel.spawn_system_task(self._watch)

    async def _watch(self) -> None:
        """End the look-ups of names that another worker finds while they may not be asked for."""
        while self._look_ups:
            await trio.sleep(WATCH_INTERVAL)
            for host, look_up in list(self._look_ups.items()):
                known = self._known(host) if look_up.waits else None
                if known is not None:
                    look_up.settle(known)
        self._watches = False

    async def _run(self, look_up: LookUp) -> None:
        try:
            await look_up.run()
        finally:
            del self._look_ups[look_up.host]
            if look_up.to_blame:
                if len(self._suspects) >= MAX_NAMES:
                    self._suspects.clear()
                self._suspects[look_up.host] = trio.current_time()

    async def _ask_again(self, name: str) -> Result:
        """Ask for a name whose answer is known, beyond all limits."""
        return await exchange(self._shared, name, lambda result: None).run()

    @staticmethod
    async def _wait(look_up: LookUp, deadline: Deadline | None) -> tuple[str, ...]:
        if not look_up.done.is_set():
            before = look_up.waited
            try:
                await look_up.done.wait()
            finally:
                if deadline is not None:
                    deadline.extend(look_up.waited - before)
        if isinstance(look_up.error, FetchError):
            raise FetchError.of(look_up.error.failure)
        if look_up.error is not None:
            raise look_up.error
        assert look_up.result is not None
        return look_up.result.addresses

    def _store(self, host: str, result: Result) -> None:
        """Keep an answer, for the other workers as well."""
        if result.outcome is Outcome.FOUND:
            seconds = min(max(float(result.ttl), MIN_TTL), MAX_TTL)
        else:
            seconds = min(max(float(result.ttl), MIN_TTL), MAX_NOT_FOUND_TTL)
        self._keep(host, result.addresses, seconds)
        self._suspects.pop(host, None)
        if self._names is not None:
            self._names.store(host, result.addresses, seconds)

    def _keep(self, host: str, addresses: tuple[str, ...], seconds: float) -> None:
        if len(self._entries) >= MAX_NAMES:
            for name in list(self._entries)[: MAX_NAMES // 2]:  # the older half
                del self._entries[name]
        self._entries[host] = _Entry(trio.current_time() + seconds, addresses)
        if addresses:
            self._shared.canary.name = host


def _some(addresses: tuple[str, ...]) -> tuple[str, ...]:
    if not addresses:
        raise FetchError(Reason.DNS_NOT_FOUND, "host not found", UNKNOWN_HOST)
    return addresses
