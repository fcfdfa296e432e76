"""Behaviours of bodies: lengths, chunks, content codings, trickles and floods."""

from __future__ import annotations

import gzip
import zlib
from functools import cache

import trio

from tests.server.good_image import good_image
from tests.server.registry import behaviour
from tests.server.web import Behaviour, Peer, Request, head, reply

#: Bytes a gzip bomb swells to: above the usual 50 MB cap; it is 65 kB on the wire.
BOMB_BYTES = 64 << 20


def chunked(body: bytes, size: int = 5000) -> bytes:
    """`body` in chunks of `size` bytes, the last chunk included (RFC 9112 7.1)."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@cache
def gzip_bomb() -> bytes:
    """`BOMB_BYTES` zeros in gzip, made piece by piece."""
    packer = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    piece = bytes(1 << 20)
    return b"".join(packer.compress(piece) for _ in range(BOMB_BYTES >> 20)) + packer.flush()


@behaviour
class SilentAfterHeader(Behaviour):
    """A head that promises a body, then silence."""

    path = "/unresponsive-after-header"
    reason = "stalled"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(head(content_type="image/jpeg", content_length=len(good_image())))
        await trio.sleep_forever()


@behaviour
class SilentInBody(Behaviour):
    """Half a body, then silence."""

    path = "/unresponsive-in-body"
    reason = "stalled"

    async def answer(self, request: Request, peer: Peer) -> bool:
        whole = reply(good_image())
        await peer.send(whole[: len(whole) // 2])
        await trio.sleep_forever()


@behaviour
class OneByteASecond(Behaviour):
    """A body of one byte a second: no silence ever lasts."""

    path = "/one-byte-a-second"
    reason = "too_slow"

    async def answer(self, request: Request, peer: Peer) -> bool:
        body = good_image()
        await peer.send(head(content_type="image/jpeg", content_length=len(body)))
        for byte in body:
            await trio.sleep(1)
            await peer.send(bytes((byte,)))
        return True


@behaviour
class SlowButSteady(Behaviour):
    """A good body in twenty pieces, `?seconds=` (1) apart: progress keeps it alive."""

    path = "/slow-but-steady"

    async def answer(self, request: Request, peer: Peer) -> bool:
        body = good_image()
        await peer.send(head(content_type="image/jpeg", content_length=len(body)))
        step = len(body) // 20 + 1
        for at in range(0, len(body), step):
            await trio.sleep(request.number("seconds", 1))
            await peer.send(body[at : at + step])
        return True


@behaviour
class Endless(Behaviour):
    """A body without a length and without an end."""

    path = "/endless"
    reason = "too_large"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(head(content_type="image/jpeg", connection="close"))
        while True:
            await peer.send(bytes(65_536))


@behaviour
class EndlessChunks(Behaviour):
    """The same in chunks."""

    path = "/endless-chunks"
    reason = "too_large"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(head(content_type="image/jpeg", transfer_encoding="chunked"))
        while True:
            await peer.send(b"10000\r\n" + bytes(65_536) + b"\r\n")


@behaviour
class HugeLength(Behaviour):
    """Announces a terabyte."""

    path = "/huge-length"
    reason = "too_large"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(head(content_type="image/jpeg", content_length=1 << 40) + good_image())
        await trio.sleep_forever()


@behaviour
class LengthTooLong(Behaviour):
    """Announces a hundred bytes more than it sends, then closes."""

    path = "/length-too-long"
    reason = "incomplete_body"

    async def answer(self, request: Request, peer: Peer) -> bool:
        body = good_image()
        await peer.send(head(content_type="image/jpeg", content_length=len(body) + 100) + body)
        return False


@behaviour
class LengthTooShort(Behaviour):
    """Announces half of what it sends: the client gets a truncated image."""

    path = "/length-too-short"
    reason = "truncated_image"

    async def answer(self, request: Request, peer: Peer) -> bool:
        body = good_image()
        await peer.send(head(content_type="image/jpeg", content_length=len(body) // 2) + body)
        return False


@behaviour
class LengthNotANumber(Behaviour):
    """`Content-Length: banana`."""

    path = "/length-not-a-number"
    reason = "protocol_error"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(head(content_type="image/jpeg", content_length="banana") + good_image())
        return False


@behaviour
class LengthsDiffer(Behaviour):
    """Two Content-Length headers that disagree (RFC 9110 8.6)."""

    path = "/lengths-differ"
    reason = "protocol_error"

    async def answer(self, request: Request, peer: Peer) -> bool:
        body = good_image()
        lines = b"Content-Length: %d\r\nContent-Length: 5\r\n\r\n" % len(body)
        await peer.send(b"HTTP/1.1 200 OK\r\n" + lines + body)
        return False


@behaviour
class UntilClose(Behaviour):
    """HTTP/1.0 without a length: the close ends the body."""

    path = "/until-close"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(head(version="1.0", content_type="image/jpeg") + good_image())
        return False


@behaviour
class Empty(Behaviour):
    """200 with a length of zero."""

    path = "/empty"
    reason = "too_small"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(reply(b""))
        return True


@behaviour
class Chunked(Behaviour):
    """A good body in chunks."""

    path = "/chunked"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(
            head(content_type="image/jpeg", transfer_encoding="chunked") + chunked(good_image())
        )
        return True


@behaviour
class ChunkedWithTrailer(Behaviour):
    """Chunk extensions and a trailer field: unused in practice, allowed by the RFC."""

    path = "/chunked-with-trailer"

    async def answer(self, request: Request, peer: Peer) -> bool:
        body = good_image()
        await peer.send(head(content_type="image/jpeg", transfer_encoding="chunked"))
        await peer.send(b"%x;name=value\r\n%b\r\n0\r\nX-Trailer: yes\r\n\r\n" % (len(body), body))
        return True


@behaviour
class BadChunkSize(Behaviour):
    """A chunk whose size is not a number."""

    path = "/bad-chunk-size"
    reason = "protocol_error"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(head(content_type="image/jpeg", transfer_encoding="chunked"))
        await peer.send(b"banana\r\n" + good_image() + b"\r\n0\r\n\r\n")
        return False


@behaviour
class ChunkedCutShort(Behaviour):
    """Closes before the last chunk."""

    path = "/chunked-cut-short"
    reason = "incomplete_body"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(head(content_type="image/jpeg", transfer_encoding="chunked"))
        await peer.send(chunked(good_image())[: -len(b"0\r\n\r\n")])
        return False


class _Coded(Behaviour):
    """A body in a content coding, whatever the client accepts."""

    coding: str

    def encode(self, body: bytes) -> bytes:
        return body

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(reply(self.encode(good_image()), content_encoding=self.coding))
        return True


@behaviour
class Gzip(_Coded):
    """A good body in gzip."""

    path = "/gzip"
    coding = "gzip"

    def encode(self, body: bytes) -> bytes:
        return gzip.compress(body, mtime=0)


@behaviour
class Deflate(_Coded):
    """A good body in deflate with the zlib wrapper the RFC asks for."""

    path = "/deflate"
    coding = "deflate"

    def encode(self, body: bytes) -> bytes:
        return zlib.compress(body)


@behaviour
class RawDeflate(_Coded):
    """A good body in deflate without the wrapper, as some servers have it."""

    path = "/raw-deflate"
    coding = "deflate"

    def encode(self, body: bytes) -> bytes:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return packer.compress(body) + packer.flush()


@behaviour
class BrokenGzip(_Coded):
    """A gzip header before the plain JPEG."""

    path = "/broken-gzip"
    reason = "bad_encoding"
    coding = "gzip"

    def encode(self, body: bytes) -> bytes:
        return gzip.compress(b"", mtime=0)[:10] + body


@behaviour
class GzipThatIsNone(_Coded):
    """Announces gzip and sends the plain JPEG, as servers of pre-packed files do."""

    path = "/gzip-that-is-none"
    coding = "gzip"


@behaviour
class GzipCutShort(_Coded):
    """The first half of a gzip body, with a length that fits."""

    path = "/gzip-cut-short"
    reason = "bad_encoding"
    coding = "gzip"

    def encode(self, body: bytes) -> bytes:
        packed = gzip.compress(body, mtime=0)
        return packed[: len(packed) // 2]


@behaviour
class GzipBomb(_Coded):
    """65 kB that inflate to 64 MiB."""

    path = "/gzip-bomb"
    reason = "too_large"
    coding = "gzip"

    def encode(self, body: bytes) -> bytes:
        return gzip_bomb()


@behaviour
class UnknownCoding(_Coded):
    """A content coding that does not exist: object stores repeat what their uploaders declared."""

    path = "/unknown-coding"
    coding = "image/jpeg"


@behaviour
class ForeignCoding(_Coded):
    """An unrequested content coding."""

    path = "/foreign-coding"
    reason = "bad_encoding"
    coding = "br"
