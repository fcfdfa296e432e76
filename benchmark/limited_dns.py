"""The name servers of a simulated network, with the limits of a world's `NameServer`.

`LimitedResolver` decides what a question gets and when; the protocols carry it over UDP and TCP.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import cast

from benchmark.network_list import DEAD_NAME_SERVER, NAME_SERVER, address_of
from benchmark.network_settings import NameServer
from benchmark.network_worlds import WORLDS
from benchmark.token_bucket import TokenBucket

_NO_ERROR, _SERVFAIL, _NXDOMAIN, _REFUSED = 0, 2, 3, 5
_A, _AAAA = 1, 28
_TTL = 300
#: Leads nowhere: the router takes no IPv6.
_IPV6 = socket.inet_pton(socket.AF_INET6, "2001:db8:ffff::1")


@dataclass(frozen=True, slots=True)
class Question:
    """The first question of a DNS message; `asked` is the question section's bytes."""

    number: bytes
    asked: bytes
    name: str
    kind: int

    @classmethod
    def parse(cls, message: bytes) -> Question:
        """Read a query.

        Raises:
            ValueError, IndexError, struct.error: it is none.
        """
        place, labels = 12, []
        while message[place]:
            labels.append(message[place + 1 : place + 1 + message[place]])
            place += 1 + message[place]
        (kind,) = struct.unpack_from("!H", message, place + 1)
        name = b".".join(labels).decode("ascii").lower()
        return cls(message[:2], message[12 : place + 5], name, kind)

    def reply(self, code: int, record: bytes | None = None) -> bytes:
        """Build a response with one address or none."""
        head = self.number + struct.pack("!HHHHH", 0x8180 | code, 1, record is not None, 0, 0)
        if record is None:
            return head + self.asked
        start = struct.pack("!HHHIH", 0xC00C, self.kind, 1, _TTL, len(record))
        return head + self.asked + start + record


class LimitedResolver:
    """Answer questions within the limits of `settings`.

    Args:
        clock: the time in seconds.
        later: call a function after a number of seconds.

    Attributes:
        counts: questions by what they got.
    """

    def __init__(
        self,
        settings: NameServer,
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._settings = settings
        self._clock, self._later = clock, later
        rate = settings.rate
        self._bucket = TokenBucket(rate, max(1.0, rate / 10)) if rate else None
        self._first: float | None = None
        self._warm: set[str] = set()
        #: Names that are being looked up, with those who wait for the answer.
        self._working: dict[str, list[Callable[[], None]]] = {}
        self._random = Random(53)
        self.counts: Counter[str] = Counter()

    def ask(self, question: Question, send: Callable[[bytes], None]) -> None:
        """Call `send` with the response, now, later or never."""
        settings, now = self._settings, self._clock()
        if self._first is None:
            self._first = now
        if settings.loss and self._random.random() < settings.loss:
            self.counts["lost"] += 1
        elif now < self._first + settings.out or (
            self._bucket is not None and not self._bucket.take(now)
        ):
            self._refuse(question, send)
        elif settings.cold is not None and question.name not in self._warm:
            self._look_up(question, send, settings.cold)
        else:
            self._answer(question, send)

    def _look_up(
        self, question: Question, send: Callable[[bytes], None], seconds: tuple[float, float]
    ) -> None:
        name = question.name
        if name in self._working:
            self._working[name].append(lambda: self._answer(question, send))
        elif len(self._working) >= self._settings.at_once:
            self._refuse(question, send)
        else:
            self._working[name] = [lambda: self._answer(question, send)]
            low, high = seconds
            # The same name takes the same time in every run.
            wait = low * (high / low) ** Random(name).random()
            self._later(wait, lambda: self._finish(name))

    def _finish(self, name: str) -> None:
        self._warm.add(name)
        for answer in self._working.pop(name):
            answer()

    def _refuse(self, question: Question, send: Callable[[bytes], None]) -> None:
        self.counts[self._settings.beyond] += 1
        if self._settings.beyond != "silence":
            send(question.reply(_SERVFAIL if self._settings.beyond == "servfail" else _REFUSED))

    def _answer(self, question: Question, send: Callable[[bytes], None]) -> None:
        self.counts["answered"] += 1
        address = address_of(question.name)
        if address is None:
            send(question.reply(_NXDOMAIN))
        elif question.kind == _A:
            send(question.reply(_NO_ERROR, socket.inet_aton(address)))
        elif question.kind == _AAAA and self._settings.ipv6:
            send(question.reply(_NO_ERROR, _IPV6))
        else:
            send(question.reply(_NO_ERROR))


class UdpServer(asyncio.DatagramProtocol):
    """DNS over UDP; without a resolver, a server that never answers."""

    transport: asyncio.DatagramTransport

    def __init__(self, resolver: LimitedResolver | None) -> None:
        self._resolver = resolver

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if self._resolver is not None:
            with suppress(ValueError, IndexError, struct.error):
                question = Question.parse(data)
                self._resolver.ask(question, lambda reply: self.transport.sendto(reply, address))


class TcpServer(asyncio.Protocol):
    """DNS over TCP: messages after their length."""

    transport: asyncio.Transport

    def __init__(self, resolver: LimitedResolver) -> None:
        self._resolver = resolver
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 2:
            end = 2 + int.from_bytes(self._buffer[:2], "big")
            if len(self._buffer) < end:
                return
            message, self._buffer = self._buffer[2:end], self._buffer[end:]
            with suppress(ValueError, IndexError, struct.error):
                self._resolver.ask(Question.parse(message), self._send)

    def _send(self, reply: bytes) -> None:
        self.transport.write(struct.pack("!H", len(reply)) + reply)


async def serve(settings: NameServer) -> Counter[str]:
    """Answer until SIGTERM; return the counts."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    resolver = LimitedResolver(settings, loop.time, loop.call_later)
    await loop.create_datagram_endpoint(lambda: UdpServer(resolver), (NAME_SERVER, 53))
    await loop.create_datagram_endpoint(lambda: UdpServer(None), (DEAD_NAME_SERVER, 53))
    server = await loop.create_server(lambda: TcpServer(resolver), NAME_SERVER, 53)
    print("ready", flush=True)
    async with server:
        await ended.wait()
    return resolver.counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("report", type=Path, help="file for the counts")
    options = parser.parse_args()
    counts = asyncio.run(serve(WORLDS[options.world].names))
    options.report.write_text(json.dumps(counts))


if __name__ == "__main__":
    main()
