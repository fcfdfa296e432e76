"""Hostile responses: heads, bodies, codings, chunks and redirects that cost much, or hold memory.

Those of `tests.server` that do not end are among them. None of these needs a large server.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable, Iterable

import trio

from tests.attack.case import Case
from tests.attack.kind import FILL
from tests.attack.pngs import dynamic_blocks
from tests.attack.records import send_in_records
from tests.server.body import chunked, gzip_bomb
from tests.server.good_image import good_image
from tests.server.registry import BEHAVIOURS
from tests.server.web import Behaviour, Peer, Request, head, reply

#: Bytes of a head that is a little shorter than the longest.
_HEAD = 65_000

Answer = Callable[[Request, Peer], object]


class _Sends(Behaviour):
    """Sends bytes that are made when they are asked for, and closes."""

    path = "/sends"

    def __init__(self, make: Callable[[], bytes], record: int = 0) -> None:
        self._make = make
        self._record = record

    async def answer(self, request: Request, peer: Peer) -> bool:
        data = await trio.to_thread.run_sync(self._make)
        if self._record:
            await send_in_records(peer, data, self._record)
        else:
            await peer.send(data)
        return False


class _Hops(Behaviour):
    """Redirects to itself, each with the longest head, in records of a byte."""

    path = "/hops"

    async def answer(self, request: Request, peer: Peer) -> bool:
        number = int(request.number("n", 0)) + 1
        data = reply(b"", 302, location=f"{self.path}?n={number}", x_long="x" * _HEAD)
        await send_in_records(peer, data)
        return True


class _Segments(Behaviour):
    """A packet for each byte, as many as a client reads one after another."""

    path = "/segments"

    async def answer(self, request: Request, peer: Peer) -> bool:
        peer.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await peer.send(head(content_length=100_000))
        while True:
            await trio.sleep(0.0005)
            await peer.send(b"x")


class _Drip(Behaviour):
    """Most of a large body at once, the rest at a rate that is just not too slow."""

    path = "/drip"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(head(content_length=FILL))
        await peer.send(bytes(FILL - 1_000_000))
        while True:
            await trio.sleep(0.5)
            await peer.send(bytes(200))


def _coded(coding: str, body: bytes) -> bytes:
    return reply(body, content_encoding=coding)


def _gzip(size: int) -> bytes:
    """Zeros in gzip, in parts that do not refer to each other: made at once."""
    packer = zlib.compressobj(9, wbits=31)
    start = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    part = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + part * (size >> 20) + packer.flush()


def _gzip_twice() -> bytes:
    return zlib.compress(_gzip(1 << 30))


def _until_close(size: int) -> bytes:
    return head(content_type="image/jpeg", connection="close") + bytes(size)


def _endless_coding() -> bytes:
    """gzip that never gives a byte: empty stored blocks."""
    data = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\0\0\0\xff\xff" * (FILL // 5)
    return _coded("gzip", data)


def _codes() -> bytes:
    """gzip that never gives a byte: codes that a decoder builds, for no symbol."""
    blocks = dynamic_blocks()
    return _coded("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + blocks * (FILL // len(blocks)))


def _members() -> bytes:
    packed = zlib.compressobj(9, wbits=31)
    member = packed.compress(b"") + packed.flush()
    return _coded("gzip", member * (FILL // len(member)))


def _chunks(chunk: bytes) -> bytes:
    count = 90_000_000 // len(chunk)
    return head(transfer_encoding="chunked") + chunk * count + b"0\r\n\r\n"


def _lines(line: bytes) -> bytes:
    """A head of one line over and over, and a good body."""
    body = good_image()
    start = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(body)
    return start + line * ((_HEAD - len(start)) // len(line)) + b"\r\n" + body


def _interim() -> bytes:
    return b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2000 + reply(good_image())


def _location() -> bytes:
    return reply(b"", 302, location="http://" + "%41.\u00e4" * 10_000)


def _long_line() -> bytes:
    return b"HTTP/1.1 200 OK\r\nX: " + b"x" * _HEAD + b"\r\n\r\n" + good_image()


#: By name: the scheme, and what is sent.
_SENT: dict[str, tuple[str, _Sends]] = {
    "head, 65 kB in records of a byte": ("https", _Sends(lambda: _lines(b"X: y\r\n"), 1)),
    "head, 13,000 content codings in a line": (
        "http",
        _Sends(lambda: _coded(",".join(["x"] * 32_000), good_image())),
    ),
    "head, 16 content codings": ("http", _Sends(lambda: _coded(",".join(["gzip"] * 16), b"x"))),
    "head, 2,900 lines of content codings": (
        "http",
        _Sends(lambda: _lines(b"Content-Encoding: x\r\n")),
    ),
    "head, 13,000 lines of a letter": ("http", _Sends(lambda: _lines(b"a:\r\n"))),
    "head, 13,000 lines without a colon": ("http", _Sends(lambda: _lines(b"a b\r\n"))),
    "head, 3,000 lines for robots": (
        "http",
        _Sends(lambda: _lines(b"X-Robots-Tag: a: b, c: d\r\n")),
    ),
    "head, 3,000 lengths": ("http", _Sends(lambda: _lines(b"Content-Length: 7\r\n"))),
    "head, 2,000 interim responses": ("http", _Sends(_interim)),
    "head, a location of 90 kB": ("http", _Sends(_location)),
    "head, a line of 65 kB": ("http", _Sends(_long_line)),
    "body, until close in records of a byte": ("https", _Sends(lambda: _until_close(1_500_000), 1)),
    "body, until close in records of 16 bytes": (
        "https",
        _Sends(lambda: _until_close(8_000_000), 16),
    ),
    "body, of known length in records of a byte": (
        "https",
        _Sends(lambda: reply(bytes(1_500_000)), 1),
    ),
    "body, chunks in records of a byte": (
        "https",
        _Sends(lambda: head(transfer_encoding="chunked") + chunked(bytes(1_000_000), 1000), 1),
    ),
    "body, 15M chunks of a byte": ("http", _Sends(lambda: _chunks(b"1\r\nx\r\n"))),
    "body, 7M chunks with extensions": ("http", _Sends(lambda: _chunks(b"1;a=b;c\r\nx\r\n"))),
    "body, a chunk with an extension of 90 MB": (
        "http",
        _Sends(lambda: _chunks(b"1;" + b"a" * 89_000_000 + b"\r\nx\r\n")),
    ),
    "body, a trailer of 90 MB": (
        "http",
        _Sends(lambda: head(transfer_encoding="chunked") + b"0\r\n" + b"a: b\r\n" * 15_000_000),
    ),
    "coding, gzip of 1 GB in 1 MB": ("http", _Sends(lambda: _coded("gzip", _gzip(1 << 30)))),
    "coding, gzip in deflate of 1 GB": (
        "http",
        _Sends(lambda: _coded("gzip, deflate", _gzip_twice())),
    ),
    "coding, brotli": ("http", _Sends(lambda: _coded("br", bytes(1000)))),
    "coding, zstd": ("http", _Sends(lambda: _coded("zstd", bytes(1000)))),
    "coding, gzip of 10M empty blocks": ("http", _Sends(_endless_coding)),
    "coding, gzip of 6M empty codes": ("http", _Sends(_codes)),
    "coding, 2.5M members of gzip": ("http", _Sends(_members)),
    "coding, 16 times gzip": ("http", _Sends(lambda: _coded(",".join(["gzip"] * 16), gzip_bomb()))),
}

#: Those of `tests.server`, by their paths.
_ENDLESS = (
    "/huge-header", "/endless-header", "/endless-interim", "/slow-header", "/one-byte-a-second",
    "/endless", "/endless-chunks", "/huge-length", "/gzip-bomb", "/redirect-loop",
    "/redirect-endless", "/unresponsive-after-header", "/unresponsive-in-body",
)  # fmt: skip


def response_cases(words: Iterable[str]) -> list[Case]:
    """All whose names have one of the words."""
    words = list(words)
    cases = [Case(name, sends, scheme) for name, (scheme, sends) in _SENT.items()]
    cases += [Case("head, 6 redirects of 65 kB in records of a byte", _Hops(), "https")]
    cases += [Case("body, a packet for each byte", _Segments())]
    cases += [Case("body, 48 MB at once, then 400 bytes a second", _Drip(), count=1)]
    cases += [Case(f"response {path}", BEHAVIOURS[path]) for path in _ENDLESS]
    return [case for case in cases if not words or any(word in case.name for word in words)]
