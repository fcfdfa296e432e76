"""A small DNS server on loopback: it serves a fixed zone over UDP and TCP on one port.

It encodes messages itself, after RFC 1035, so that it does not depend on the code under test.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

A, CNAME, SOA, AAAA = 1, 5, 6, 28

NO_ERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5

_RESPONSE, _TRUNCATED = 0x8180, 0x0200


@dataclass(frozen=True, slots=True)
class Record:
    """`data` is an address, or for a CNAME the name that is meant; `ttl` in seconds."""

    kind: int
    data: str
    ttl: int = 300

    def encode(self, owner: str) -> bytes:
        if self.kind == CNAME:
            data = encode_name(self.data)
        else:
            family = socket.AF_INET if self.kind == A else socket.AF_INET6
            data = socket.inet_pton(family, self.data)
        fixed = struct.pack("!HHIH", self.kind, 1, self.ttl, len(data))
        return encode_name(owner) + fixed + data


@dataclass(frozen=True, slots=True)
class Entry:
    """How one name is answered.

    Records of another kind than the one asked for are left out, except aliases. Every answer is
    `delay` seconds late. `silent` never answers, `silent_to` never answers questions of one kind.
    `truncated` leaves the records out over UDP and sets TC, after which `tcp_closes` closes
    instead of answering over TCP. `wrong_id` first sends a forged answer, with another message
    number and another address; `wrong_id_only` sends only that.
    """

    records: tuple[Record, ...] = ()
    code: int = NO_ERROR
    delay: float = 0.0
    silent: bool = False
    silent_to: int | None = None
    truncated: bool = False
    tcp_closes: bool = False
    wrong_id: bool = False
    wrong_id_only: bool = False
    minimum: int | None = None
    lowers: bool = False


def addresses(*texts: str, ttl: int = 300, **how: bool) -> Entry:
    """An entry with A and AAAA records."""
    kinds = (AAAA if ":" in text else A for text in texts)
    pairs = zip(kinds, texts, strict=True)
    return Entry(tuple(Record(kind, text, ttl) for kind, text in pairs), **how)


#: The address in forged answers.
FORGED = {A: "127.66.66.66", AAAA: "::1"}


def encode_name(name: str) -> bytes:
    labels = name.encode("ascii").split(b".") if name else []
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def decode_question(message: bytes) -> tuple[int, str, int, bytes]:
    """Message number, name in lower case, kind, and the question as bytes."""
    (number,) = struct.unpack_from("!H", message)
    labels, at = [], 12
    while length := message[at]:
        labels.append(message[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    (kind,) = struct.unpack_from("!H", message, at + 1)
    return number, ".".join(labels).lower(), kind, message[12 : at + 5]


@dataclass
class NameServer:
    """One DNS server. A name that is not in the table does not exist.

    `asked` counts questions by name and kind, `over_tcp` those that came by TCP, `most_at_once`
    is the greatest number of names that waited for an answer together.
    """

    table: Mapping[str, Entry] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    asked: Counter[tuple[str, int]] = field(default_factory=Counter)
    over_tcp: int = 0
    numbers: list[int] = field(default_factory=list)
    most_at_once: int = 0
    _waiting: int = 0

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def text(self) -> str:
        """As `dns_servers` takes it."""
        return f"{self.host}:{self.port}"

    def times(self, name: str) -> int:
        """The number of questions for `name`, of any kind."""
        return sum(count for (asked, _), count in self.asked.items() if asked == name)

    def entry(self, name: str) -> Entry:
        """How a question is answered."""
        return self.table.get(name, Entry(code=NXDOMAIN))

    async def serve(
        self, *, task_status: trio.TaskStatus[NameServer] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled: `await nursery.start(NameServer(...).serve)`."""
        udp, listeners = await self._bind()
        with udp:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, self._converse, listeners)
                task_status.started(self)
                while True:
                    message, client = await udp.recvfrom(65_535)
                    nursery.start_soon(self._datagram, udp, message, client)

    async def _bind(self) -> tuple[trio.socket.SocketType, list[trio.SocketListener]]:
        while True:
            listeners = await trio.open_tcp_listeners(self.port, host=self.host)
            port = listeners[0].socket.getsockname()[1]
            udp = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                await udp.bind((self.host, port))
            except OSError:  # the port that TCP had free is taken for UDP
                udp.close()
                await listeners[0].aclose()
                continue
            self.port = port
            return udp, listeners

    async def _datagram(
        self, udp: trio.socket.SocketType, message: bytes, client: tuple[Any, ...]
    ) -> None:
        for answer in await self._answers(message, tcp=False):
            await udp.sendto(answer, client)

    async def _converse(self, stream: trio.SocketStream) -> None:
        self.over_tcp += 1
        async with stream:
            received = b""
            while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
                data = await stream.receive_some()
                if not data:
                    return
                received += data
            for answer in await self._answers(received[2:], tcp=True):
                data = len(answer).to_bytes(2, "big") + answer
                for at in range(0, len(data), 7):  # TCP keeps no messages together
                    await stream.send_all(data[at : at + 7])

    async def _answers(self, message: bytes, *, tcp: bool) -> list[bytes]:
        number, name, kind, question = decode_question(message)
        self.asked[name, kind] += 1
        self.numbers.append(number)
        entry = self.entry(name)
        self._waiting += 1
        self.most_at_once = max(self.most_at_once, self._waiting)
        try:
            await trio.sleep(entry.delay)
        finally:
            self._waiting -= 1
        if entry.silent or entry.silent_to == kind or (tcp and entry.tcp_closes):
            return []
        answers = []
        if entry.wrong_id or entry.wrong_id_only:
            forged = Record(kind, FORGED[kind]).encode(name)
            answers.append(_message(number ^ 1, _RESPONSE, question, [forged]))
        if not entry.wrong_id_only:
            cut = entry.truncated and not tcp
            records = [] if cut else self._records(entry, name, kind)
            flags = _RESPONSE | entry.code | (_TRUNCATED if cut else 0)
            authority = [] if records or entry.minimum is None else [_soa(name, entry.minimum)]
            if entry.lowers:
                question = encode_name(name) + question[-4:]
            answers.append(_message(number, flags, question, records, authority))
        return answers

    def _records(self, entry: Entry, owner: str, kind: int) -> list[bytes]:
        """The records of an answer, with what aliases lead to, as a recursive server has it."""
        encoded = []
        for record in entry.records:
            if record.kind in (kind, CNAME):
                encoded.append(record.encode(owner))
            if record.kind == CNAME:
                encoded += self._records(self.table.get(record.data, Entry()), record.data, kind)
        return encoded


def _message(
    number: int, flags: int, question: bytes, records: list[bytes], authority: Sequence[bytes] = ()
) -> bytes:
    header = struct.pack("!HHHHHH", number, flags, 1, len(records), len(authority), 0)
    return header + question + b"".join(records) + b"".join(authority)


def _soa(zone: str, minimum: int) -> bytes:
    data = encode_name("ns.example") + encode_name("admin.example")
    data += struct.pack("!IIIII", 1, 3600, 600, 86400, minimum)
    return encode_name(zone) + struct.pack("!HHIH", SOA, 1, 3600, len(data)) + data
