"""PNGs: pixels from nothing in every colour type, and compressed data or chunks without pixels."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

from img2ds.image.headers.png import SIGNATURE
from tests.attack.kind import FILL, SIDE, kind
from tests.server.encodings import png
from tests.server.image import png_bomb, png_chunk
from tests.server.photos import photo

_PIXELS = SIDE * SIDE
_GREY, _RGB, _PALETTE, _RGBA = 0, 2, 3, 6
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _RGBA: 4}
#: Sides of the seven passes of Adam7: first column and row, and steps (PNG 3rd edition, 8.1).
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
           (0, 1, 1, 2))  # fmt: skip


def image(width: int, height: int, depth: int, colour: int, *, interlaced: bool = False) -> bytes:
    """A PNG of zeros; with a filter that goes over every byte where it is not interlaced."""
    row = (width * depth * _CHANNELS[colour] + 7) // 8
    if interlaced:
        size = sum(
            -(-(height - y) // step_y) * (1 + (-(-(width - x) // step_x) * depth
                                               * _CHANNELS[colour] + 7) // 8)
            for x, y, step_x, step_y in _PASSES
        )  # fmt: skip
        data = _zeros(size)
    else:
        data = _repeated(b"\4" + bytes(row), height)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    palette = png_chunk(b"PLTE", bytes(range(255)) * 3) if colour == _PALETTE else b""
    return (SIGNATURE + png_chunk(b"IHDR", head) + palette + png_chunk(b"IDAT", data)
            + png_chunk(b"IEND", b""))  # fmt: skip


def interlaced(pixels: Any) -> bytes:
    """An honest interlaced RGB PNG, uint8 [height, width, 3], filtered as photos are (Paeth)."""
    raw = b""
    for x, y, step_x, step_y in _PASSES:
        part = pixels[y::step_y, x::step_x].astype(np.int16)
        around = np.pad(part, ((1, 0), (1, 0), (0, 0)))
        left, above, corner = around[1:, :-1], around[:-1, 1:], around[:-1, :-1]
        guess = left + above - corner
        far = [abs(guess - near) for near in (left, above, corner)]
        first = (far[0] <= far[1]) & (far[0] <= far[2])
        predicted = np.where(first, left, np.where(far[1] <= far[2], above, corner))
        rows = (part - predicted).astype(np.uint8).reshape(part.shape[0], -1)
        raw += np.pad(rows, ((0, 0), (1, 0)), constant_values=4).tobytes()
    height, width = pixels.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 8, _RGB, 0, 0, 1)
    return (SIGNATURE + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(raw))
            + png_chunk(b"IEND", b""))  # fmt: skip


def _repeated(row: bytes, count: int) -> bytes:
    at_once = max(1, min(count, 1_000_000 // len(row)))
    packer = zlib.compressobj(1)
    parts = [packer.compress(row * at_once) for _ in range(count // at_once)]
    return b"".join([*parts, packer.compress(row * (count % at_once)), packer.flush()])


def _zeros(size: int) -> bytes:
    packer = zlib.compressobj(1)
    parts = [packer.compress(bytes(1_000_000)) for _ in range(size // 1_000_000)]
    return b"".join([*parts, packer.compress(bytes(size % 1_000_000)), packer.flush()])


@kind("png, 8 bits, RGB, 88 Mpx", _PIXELS, "png")
def rgb() -> bytes:
    return image(SIDE, SIDE, 8, _RGB)


@kind("png, 8 bits, RGBA, 88 Mpx", _PIXELS, "png_rgba")
def rgba() -> bytes:
    return image(SIDE, SIDE, 8, _RGBA)


@kind("png, 8 bits, RGBA, interlaced, 88 Mpx", _PIXELS, "png_rgba")
def rgba_interlaced() -> bytes:
    return image(SIDE, SIDE, 8, _RGBA, interlaced=True)


@kind("png, 16 bits, RGB, 88 Mpx", _PIXELS, "png_16bit")
def rgb_16bit() -> bytes:
    return image(SIDE, SIDE, 16, _RGB)


@kind("png, 16 bits, RGBA, interlaced, 88 Mpx", _PIXELS, "png_16bit")
def rgba_16bit_interlaced() -> bytes:
    return image(SIDE, SIDE, 16, _RGBA, interlaced=True)


@kind("png, 16 bits, grey, 88 Mpx", _PIXELS, "png_grey_16bit")
def grey_16bit() -> bytes:
    return image(SIDE, SIDE, 16, _GREY)


@kind("png, palette, interlaced, 88 Mpx", _PIXELS, "png_palette")
def palette() -> bytes:
    return image(SIDE, SIDE, 8, _PALETTE, interlaced=True)


@kind("png, 1 bit, grey, 88 Mpx", _PIXELS, "png_grey")
def bits() -> bytes:
    return image(SIDE, SIDE, 1, _GREY)


@kind("png, a column of 88 Mpx", _PIXELS, "png")
def column() -> bytes:
    return image(1, _PIXELS, 8, _RGB)


@kind("png, an interlaced column of 88 Mpx", _PIXELS, "png_interlaced")
def interlaced_column() -> bytes:
    return image(1, _PIXELS, 8, _RGB, interlaced=True)


@kind("png, 400 Mpx by its header")
def bomb() -> bytes:
    return png_bomb()


def _with(chunk: bytes, body: bytes) -> bytes:
    """A PNG with a chunk repeated behind its header."""
    start = len(SIGNATURE) + 25
    return body[:start] + chunk * ((FILL - len(body)) // len(chunk)) + body[start:]


@kind("png, 50 MB of empty blocks of deflate")
def empty_blocks() -> bytes:
    """Each has Huffman codes that a decoder builds, and no byte (RFC 1951, 3.2.7)."""
    # One code of distances, two of literals (0 and the end of the block), in the fewest bits.
    writer = zlib.compressobj(1)
    good = writer.compress(b"\0" + bytes(3)) + writer.flush()
    block = dynamic_blocks()
    data = good[:2] + block * ((FILL - 200) // len(block)) + good[2:]
    head = struct.pack(">IIBBBBB", 1, 1, 8, _RGB, 0, 0, 0)
    return (SIGNATURE + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", data)
            + png_chunk(b"IEND", b""))  # fmt: skip


def dynamic_blocks() -> bytes:
    """Empty blocks with dynamic codes that end on a byte."""
    one = "0" + "01"  # not the last; dynamic (written from its lowest bit)
    one += "00000" + "00000" + "0111"  # 257 literals, 1 distance, 18 lengths of code lengths
    # In the order 16 17 18 0 8 7 9 6 10 5 11 4 12 3 13 2 14 1: 18 and 1 have codes of a bit.
    one += "".join("100" if name in (18, 1) else "000" for name in
                   (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1))  # fmt: skip
    # 1 has the code 0, 18 the code 1: a literal 0, 138 + 117 lengths of zero, the end, a distance.
    one += "0" + "1" + "1111111" + "1" + "0101011" + "0" + "0"
    one += "1"  # the end of the block
    text = one * 8
    return bytes(int(text[at : at + 8][::-1], 2) for at in range(0, len(text), 8))


@kind("png, 4M empty chunks of pixels")
def empty_chunks() -> bytes:
    return _with(png_chunk(b"IDAT", b""), png(photo(5, 48, 32)))


@kind("png, 4M empty chunks of text")
def empty_texts() -> bytes:
    return _with(png_chunk(b"tEXt", b""), png(photo(5, 48, 32)))


@kind("png, 50 MB of compressed text")
def texts() -> bytes:
    return _with(png_chunk(b"zTXt", b"a\0\0" + _zeros(50_000_000)), png(photo(5, 48, 32)))


@kind("png, 50 MB of profiles that unpack to 50 GB")
def profiles() -> bytes:
    return _with(png_chunk(b"iCCP", b"a\0\0" + _zeros(50_000_000)), png(photo(5, 48, 32)))


@kind("png, 50 MB of a profile")
def profile() -> bytes:
    return _with(png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(FILL - 10_000), 0)),
                 png(photo(5, 48, 32)))  # fmt: skip


@kind("png, 50 MB of pixels behind the last")
def more_pixels() -> bytes:
    head = struct.pack(">IIBBBBB", 1, 1, 8, _RGB, 0, 0, 0)
    data = zlib.compress(bytes(FILL - 10_000), 0)
    return (SIGNATURE + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", data)
            + png_chunk(b"IEND", b""))  # fmt: skip


@kind("png, 50 GB of pixels behind the last")
def unpacked_pixels() -> bytes:
    head = struct.pack(">IIBBBBB", 1, 1, 8, _RGB, 0, 0, 0)
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1 << 20))]
    packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(100 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    data = b"".join(parts) + piece * (FILL // len(piece))
    return SIGNATURE + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", data)
