"""Behaviours of images: HTTP is in order, the bytes are not."""

from __future__ import annotations

import struct
import zlib
from functools import cache

from tests.server.good_image import good_image
from tests.server.registry import behaviour
from tests.server.web import Behaviour, Peer, Request, reply

#: Side in pixels of the decompression bomb: 400 million pixels from 50 kB.
BOMB_SIDE = 20_000


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One PNG chunk (PNG specification, 5.3)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@cache
def png_bomb() -> bytes:
    """A valid one-bit grey PNG of `BOMB_SIDE` squared, about 50 kB."""
    packer = zlib.compressobj(9)
    row = bytes(1 + BOMB_SIDE // 8)
    block = row * 1000
    data = b"".join(packer.compress(block) for _ in range(BOMB_SIDE // 1000)) + packer.flush()
    header = struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", data)
        + png_chunk(b"IEND", b"")
    )


class _Bytes(Behaviour):
    """A correct reply whose body is something else."""

    content_type = "image/jpeg"

    def body(self) -> bytes:
        raise NotImplementedError

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(reply(self.body(), content_type=self.content_type))
        return True


@behaviour
class HtmlAsImage(_Bytes):
    """An error page sent as image/jpeg with status 200."""

    path = "/html-as-image"
    reason = "not_an_image"

    def body(self) -> bytes:
        return b"<!DOCTYPE html><html><body><h1>This image is gone</h1></body></html>"


@behaviour
class ImageAsHtml(_Bytes):
    """A good JPEG under text/html: the bytes count, not the label."""

    path = "/image-as-html"
    content_type = "text/html"

    def body(self) -> bytes:
        return good_image()


@behaviour
class TruncatedJpeg(_Bytes):
    """Half a JPEG with a length that fits."""

    path = "/truncated-jpeg"
    reason = "truncated_image"

    def body(self) -> bytes:
        return good_image()[: len(good_image()) // 2]


@behaviour
class BrokenJpeg(_Bytes):
    """The first bytes of a JPEG, then noise that is none."""

    path = "/broken-jpeg"
    reason = "decode_error"

    def body(self) -> bytes:
        return good_image()[:20] + bytes(range(1, 255)) * 20


@behaviour
class PngBomb(_Bytes):
    """A small PNG of 400 million pixels."""

    path = "/png-bomb"
    reason = "image_bomb"
    content_type = "image/png"

    def body(self) -> bytes:
        return png_bomb()


@behaviour
class Svg(_Bytes):
    """A drawing, in a format that is not among those taken."""

    path = "/svg"
    reason = "not_an_image"
    content_type = "image/svg+xml"

    def body(self) -> bytes:
        return b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'
