"""Names to addresses: hosts file, cache, then DNS servers; each question is asked once.

A stub resolver on trio sockets instead of getaddrinfo in threads: its questions can be
cancelled, bounded and counted, and a list of a million hosts is kept from drowning the server.
"""

from __future__ import annotations

import errno
import math
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import trio

from img2ds.core.failure import Reason, UsageError
from img2ds.net.dns import (
    Answer,
    BadMessage,
    RecordType,
    ResponseCode,
    decode_answer,
    encode_query,
)
from img2ds.net.error import FetchError

#: Questions in flight at once. Common home routers and local forwarders take 150.
MAX_QUESTIONS = 64
#: Seconds that an answer is kept at least and at most: a dataset's hosts do not move in a minute.
MIN_TTL, MAX_TTL = 60.0, 3600.0
#: Seconds that "no such name" is kept, and that a failing server's answer is.
NOT_FOUND_TTL, FAILURE_TTL = 600.0, 5.0
#: Names kept at most, about 350 bytes each.
MAX_NAMES = 50_000
#: Seconds to wait for AAAA once A is known, or the other way round: some servers drop what they
#: do not know. Ten times RFC 8305's 50 ms; a name is asked for once, for all of its URLs.
LATE_ANSWER = 0.5
#: Rounds over all servers before giving up, as glibc's default `attempts`.
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """Where to ask: servers as (address, port), and what the hosts file says."""

    servers: tuple[tuple[str, int], ...]
    hosts: dict[str, tuple[str, ...]]


def system_config(servers: Sequence[str] = ()) -> DnsConfig:
    """The system's servers and hosts file, or the given servers (ADDRESS or ADDRESS:PORT).

    Raises:
        UsageError: a given server is no address.
    """
    chosen = tuple(_server(text) for text in servers) or _resolv_conf(Path("/etc/resolv.conf"))
    return DnsConfig(chosen, _hosts_file(Path("/etc/hosts")))


def _server(text: str) -> tuple[str, int]:
    address, port = text, "53"
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest[1:] or "53"
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    if _family(address) is None or not port.isdigit():
        raise UsageError(f"--dns_servers takes addresses such as 9.9.9.9 or [::1]:53, got {text!r}")
    return address, int(port)


def _family(address: str) -> socket.AddressFamily | None:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address.partition("%")[0])
        except (OSError, ValueError):
            continue
        return family
    return None


def _resolv_conf(path: Path) -> tuple[tuple[str, int], ...]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    words = (line.split() for line in lines)
    found = [
        (line[1], 53)
        for line in words
        if len(line) > 1 and line[0] == "nameserver" and _family(line[1]) is not None
    ]
    return tuple(found) or (("127.0.0.1", 53),)


def _hosts_file(path: Path) -> dict[str, tuple[str, ...]]:
    hosts: dict[str, tuple[str, ...]] = {}
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        if _family(address) is None:
            continue
        for name in names:
            known = hosts.get(name.lower(), ())
            hosts[name.lower()] = (*known, address)
    return hosts


def has_ipv6_route() -> bool:
    """Whether this machine could send to the public IPv6 internet; sends nothing."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect(("2001:db8::1", 53))
    except OSError:
        return False
    return True


@dataclass(slots=True)
class _Entry:
    """A name's addresses, or why there are none; `asked` is there while the answer is not."""

    asked: trio.Event | None
    expires: float = 0.0
    addresses: tuple[str, ...] = ()
    error: tuple[Reason, str] | None = None


class Resolver:
    """A caching stub resolver. Use from one trio run.

    Args:
        config: servers and hosts file.
        timeout: seconds that a name may take in all.
        ipv6: whether to ask for AAAA records; None looks for a route.
        seed: of the message numbers; None for unpredictable ones, as RFC 5452 wants.
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
        """The addresses of `host`, in the order to try them; a literal is its own address.

        Raises:
            FetchError: dns_not_found, dns_timeout or dns_failure.
        """
        if host in self._config.hosts:
            return self._config.hosts[host]
        entry = self._entries.get(host)
        while entry is not None and entry.asked is not None:
            await entry.asked.wait()
            entry = self._entries.get(host)
        if entry is None or entry.expires < trio.current_time():
            if _family(host) is not None:
                return (host,)
            entry = await self._ask(host)
        if entry.error is not None:
            raise FetchError(*entry.error)
        return entry.addresses

    async def _ask(self, host: str) -> _Entry:
        if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 6.3
            return _Entry(None, addresses=("127.0.0.1",))
        if len(self._entries) >= MAX_NAMES:
            self._forget()
        asked = trio.Event()
        entry = self._entries[host] = _Entry(asked)
        try:
            try:
                ttl = await self._look_up(host, entry)
            except FetchError as error:
                reason = Reason.named(error.failure.reason)
                entry.error = (reason, error.failure.message)
                ttl = NOT_FOUND_TTL if reason is Reason.DNS_NOT_FOUND else FAILURE_TTL
            entry.expires = trio.current_time() + ttl
        except BaseException:
            del self._entries[host]
            raise
        finally:
            entry.asked = None
            asked.set()
        return entry

    def _forget(self) -> None:
        """Make room: the older half goes, but for names being asked."""
        for name in list(self._entries)[: MAX_NAMES // 2]:
            if self._entries[name].asked is None:
                del self._entries[name]

    async def _look_up(self, host: str, entry: _Entry) -> float:
        """Fill in the addresses; returns how long they hold, in seconds."""
        try:
            queries = [
                encode_query(self._random.getrandbits(16), host, kind) for kind in self._types
            ]
        except BadMessage:
            raise FetchError(Reason.DNS_NOT_FOUND, "host not found") from None
        servers = self._config.servers * ROUNDS
        # The first round gets less, so that one silent server leaves time for the next.
        patience = max(self._timeout / len(servers), min(2.0, self._timeout / 2))
        error = FetchError(Reason.DNS_TIMEOUT, "name server did not answer")
        async with self._slots:
            with trio.move_on_after(self._timeout):
                for server in servers:
                    answers: list[Answer] | None = None
                    try:
                        with trio.move_on_after(patience):
                            answers = await _exchange(server, queries)
                    except OSError as fault:
                        if fault.errno in (errno.EMFILE, errno.ENFILE):
                            raise FetchError(Reason.NO_DESCRIPTORS, "too many open files") from None
                        error = FetchError(Reason.DNS_FAILURE, "name server not reachable")
                        continue
                    if answers is None:
                        error = FetchError(Reason.DNS_TIMEOUT, "name server did not answer")
                        continue
                    addresses = [a for answer in answers for a in answer.addresses]
                    if addresses:
                        entry.addresses = _interleaved(addresses)
                        ttl = min(answer.ttl for answer in answers if answer.addresses)
                        return min(max(float(ttl), MIN_TTL), MAX_TTL)
                    codes = {answer.code for answer in answers}
                    cut = any(answer.truncated for answer in answers)  # and TCP did not work
                    if not cut and codes <= {ResponseCode.NO_ERROR, ResponseCode.NAME_ERROR}:
                        raise FetchError(Reason.DNS_NOT_FOUND, "host not found")
                    error = FetchError(Reason.DNS_FAILURE, "name server failed")
        raise error


def _interleaved(addresses: list[str]) -> tuple[str, ...]:
    """IPv6 and IPv4 in turn, IPv6 first (RFC 8305 4)."""
    six = [a for a in addresses if ":" in a]
    four = [a for a in addresses if ":" not in a]
    mixed = [a for pair in zip(six, four, strict=False) for a in pair]
    shorter = min(len(six), len(four))
    return (*mixed, *six[shorter:], *four[shorter:])


async def _exchange(server: tuple[str, int], queries: list[bytes]) -> list[Answer]:
    """Ask one server all questions over one UDP socket, truncated answers again over TCP."""
    family = _family(server[0])
    assert family is not None
    answers: dict[bytes, Answer] = {}
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect(server)
        for query in queries:
            sock.send(query)
        while len(answers) < len(queries):
            try:
                message = sock.recv(65_535)
            except BlockingIOError:
                known = any(answer.addresses for answer in answers.values())
                with trio.move_on_after(LATE_ANSWER if known else math.inf) as waiting:
                    await trio.lowlevel.wait_readable(sock)
                if waiting.cancelled_caught:
                    break
                continue
            for query in queries:
                try:
                    answers[query] = decode_answer(message, query)
                except BadMessage:
                    continue  # late, forged, or the other question's
    for query, answer in answers.items():
        if answer.truncated:
            answers[query] = await _exchange_tcp(server, query) or answer
    return list(answers.values())


async def _exchange_tcp(server: tuple[str, int], query: bytes) -> Answer | None:
    """The same question over TCP (RFC 7766); None when that does not work."""
    try:
        stream = await trio.open_tcp_stream(*server)
    except OSError:
        return None
    async with stream:
        received = b""
        try:
            await stream.send_all(len(query).to_bytes(2, "big") + query)
            while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
                data = await stream.receive_some(65_537)
                if not data:
                    return None
                received += data
            return decode_answer(received[2:], query)
        except (trio.BrokenResourceError, BadMessage):
            return None
