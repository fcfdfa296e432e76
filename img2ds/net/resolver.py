"""Names to addresses: hosts file, cache, then DNS servers; each question is asked once.

A stub resolver on trio sockets instead of getaddrinfo in threads: its questions can be
cancelled, bounded and counted, and a list of a million hosts does not flood the server.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import trio

from img2ds.core.failure import Reason
from img2ds.net.dns import Answer, BadMessage, RecordType, ResponseCode, encode_query
from img2ds.net.dns_config import DnsConfig, address_family, has_ipv6_route
from img2ds.net.dns_exchange import ask_server
from img2ds.net.error import FetchError

#: Questions in flight at once. Common home routers and local forwarders take 150.
MAX_QUESTIONS = 64
#: Seconds that an answer is kept at least and at most: a dataset's hosts do not move in a minute.
MIN_TTL, MAX_TTL = 60.0, 3600.0
#: Seconds that "no such name" is kept, and that a failing server's answer is.
NOT_FOUND_TTL, FAILURE_TTL = 600.0, 5.0
#: Names kept at most, about 350 bytes each.
MAX_NAMES = 50_000
#: Rounds over all servers before giving up, as glibc's default `attempts`.
ROUNDS = 2


@dataclass(slots=True)
class _Entry:
    """The addresses of a name, or why there are none; `pending` is set while it is asked for."""

    pending: trio.Event | None
    expires: float = 0.0
    addresses: tuple[str, ...] = ()
    error: tuple[Reason, str] | None = None


class Resolver:
    """A caching stub resolver. Use from one trio run.

    Args:
        config: servers and hosts file.
        timeout: seconds that a name may take in all.
        ipv6: whether to ask for AAAA records; with None, only when there is an IPv6 route.
        seed: of the message numbers; None for unpredictable ones, as RFC 5452 requires.
    """

    def __init__(
        self,
        config: DnsConfig,
        timeout: float,
        ipv6: bool | None = None,
        seed: int | None = None,
    ) -> None:
        self._config = config
        self._timeout = timeout
        self._types = [RecordType.A]
        if has_ipv6_route() if ipv6 is None else ipv6:
            self._types.insert(0, RecordType.AAAA)
        self._random = Random(seed)
        self._entries: dict[str, _Entry] = {}
        self._slots = trio.CapacityLimiter(MAX_QUESTIONS)

    async def resolve(self, host: str) -> tuple[str, ...]:
        """Return the addresses of `host`, in the order to try them; a literal is its own address.

        Raises:
            FetchError: dns_not_found, dns_timeout, dns_failure or no_descriptors.
        """
        if host in self._config.hosts:
            return self._config.hosts[host]
        entry = self._entries.get(host)
        while entry is not None and entry.pending is not None:
            await entry.pending.wait()
            entry = self._entries.get(host)
        if entry is None or entry.expires < trio.current_time():
            if address_family(host) is not None:
                return (host,)
            entry = await self._ask(host)
        if entry.error is not None:
            raise FetchError(*entry.error)
        return entry.addresses

    async def answers(self, timeout: float) -> bool:
        """Ask the name servers for a root server; return whether any gives an answer."""
        query = encode_query(self._random.getrandbits(16), "a.root-servers.net", RecordType.A)
        for server in self._config.servers:
            with trio.move_on_after(timeout / len(self._config.servers)), suppress(OSError):
                (answer,) = await ask_server(server, [query])
                if answer.code in (ResponseCode.NO_ERROR, ResponseCode.NAME_ERROR):
                    return True
        return False

    async def _ask(self, host: str) -> _Entry:
        if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 6.3
            return _Entry(None, addresses=("127.0.0.1",))
        if len(self._entries) >= MAX_NAMES:
            self._forget()
        pending = trio.Event()
        entry = self._entries[host] = _Entry(pending)
        try:
            try:
                entry.addresses, ttl = await self._look_up(host)
            except FetchError as error:
                reason = Reason.named(error.failure.reason)
                entry.error = (reason, error.failure.message)
                ttl = NOT_FOUND_TTL if reason is Reason.DNS_NOT_FOUND else FAILURE_TTL
            entry.expires = trio.current_time() + ttl
        except BaseException:
            del self._entries[host]
            raise
        finally:
            entry.pending = None
            pending.set()
        return entry

    def _forget(self) -> None:
        """Drop the older half of the cache, except names that are being asked for."""
        for name in list(self._entries)[: MAX_NAMES // 2]:
            if self._entries[name].pending is None:
                del self._entries[name]

    async def _look_up(self, host: str) -> tuple[tuple[str, ...], float]:
        """Return the addresses of a name and how many seconds to keep them. Raises FetchError."""
        try:
            queries = [
                encode_query(self._random.getrandbits(16), host, kind) for kind in self._types
            ]
        except BadMessage:
            raise FetchError(Reason.DNS_NOT_FOUND, "host not found") from None
        servers = self._config.servers * ROUNDS
        # The first round gets less, so that one silent server leaves time for the next.
        server_timeout = max(self._timeout / len(servers), min(2.0, self._timeout / 2))
        error = FetchError(Reason.DNS_TIMEOUT, "name server did not answer")
        async with self._slots:
            with trio.move_on_after(self._timeout):
                for server in servers:
                    answers: list[Answer] | None = None
                    try:
                        with trio.move_on_after(server_timeout):
                            answers = await ask_server(server, queries)
                    except OSError as fault:
                        if fault.errno in (errno.EMFILE, errno.ENFILE):
                            raise FetchError(Reason.NO_DESCRIPTORS, "too many open files") from None
                        error = FetchError(Reason.DNS_FAILURE, "name server not reachable")
                        continue
                    if answers is None:
                        error = FetchError(Reason.DNS_TIMEOUT, "name server did not answer")
                        continue
                    found = _addresses(answers)
                    if found is not None:
                        return found
                    error = FetchError(Reason.DNS_FAILURE, "name server failed")
        raise error


def _addresses(answers: list[Answer]) -> tuple[tuple[str, ...], float] | None:
    """Return the addresses of one server's answers and how long to keep them.

    Returns:
        None when the server failed: another one may know.

    Raises:
        FetchError: dns_not_found.
    """
    addresses = [a for answer in answers for a in answer.addresses]
    if addresses:
        ttl = min(answer.ttl for answer in answers if answer.addresses)
        return _interleaved(addresses), min(max(float(ttl), MIN_TTL), MAX_TTL)
    codes = {answer.code for answer in answers}
    truncated = any(answer.truncated for answer in answers)  # and TCP did not work
    if not truncated and codes <= {ResponseCode.NO_ERROR, ResponseCode.NAME_ERROR}:
        raise FetchError(Reason.DNS_NOT_FOUND, "host not found")
    return None


def _interleaved(addresses: list[str]) -> tuple[str, ...]:
    """Return IPv6 and IPv4 addresses in turn, IPv6 first (RFC 8305 4)."""
    six = [a for a in addresses if ":" in a]
    four = [a for a in addresses if ":" not in a]
    mixed = [a for pair in zip(six, four, strict=False) for a in pair]
    shorter = min(len(six), len(four))
    return (*mixed, *six[shorter:], *four[shorter:])
