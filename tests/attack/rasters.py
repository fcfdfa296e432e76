"""TIFFs, BMPs and PNMs: every compression of nothing, and runs and digits of one pixel each."""

from __future__ import annotations

import io
import lzma
import struct
import zlib

from PIL import Image

from tests.attack.kind import FILL, SIDE, kind
from tests.image.test_formats import tiff
from tests.server.encodings import bmp, pnm
from tests.server.encodings import tiff as tiff_photo
from tests.server.photos import photo

_PIXELS = SIDE * SIDE


def _page(data: bytes, compression: int, samples: int = 3, depth: int = 8, **more: int) -> bytes:
    tags = {256: SIDE, 257: SIDE, 258: depth, 259: compression, 262: 2 if samples > 1 else 1,
            273: 0, 277: samples, 278: SIDE, 279: len(data)}  # fmt: skip
    return tiff(tags | {int(name[1:]): value for name, value in more.items()}, data)


def _deflated(size: int) -> bytes:
    packer = zlib.compressobj(1)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(-(-size >> 20))) + packer.flush()


@kind("tiff, deflate, RGB, 88 Mpx", _PIXELS, "tiff")
def deflate() -> bytes:
    return _page(_deflated(3 * _PIXELS), 8)


@kind("tiff, deflate, RGBA of 16 bits, 88 Mpx", _PIXELS, "tiff")
def deflate_16bit() -> bytes:
    return _page(_deflated(8 * _PIXELS), 8, 4, 16, t338=2)


@kind("tiff, deflate, floats, 88 Mpx", _PIXELS, "tiff")
def floats() -> bytes:
    return _page(_deflated(4 * _PIXELS), 8, 1, 32, t339=3)


@kind("tiff, packbits, RGB, 88 Mpx", _PIXELS, "tiff")
def packbits() -> bytes:
    return _page(b"\x81\0" * (3 * _PIXELS // 128 + 1), 32773)


@kind("tiff, LZW, RGB, 88 Mpx", _PIXELS, "tiff")
def lzw_strips() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE)).save(file, "TIFF", compression="tiff_lzw")
    return file.getvalue()


@kind("tiff, group 4, 88 Mpx", _PIXELS, "tiff")
def group4() -> bytes:
    """Every row is like the one before: a bit (T.6, 2.2.3.3)."""
    return _page(b"\xff" * (SIDE // 8 + 1) + b"\x00\x10\x01", 4, 1, 1)


@kind("tiff, a deflated tile of 88 Mpx", _PIXELS, "tiff")
def tile() -> bytes:
    data = _deflated(3 * 9408 * 9408)
    tags = {256: SIDE, 257: SIDE, 258: 8, 259: 8, 262: 2, 277: 3, 322: 9408, 323: 9408,
            324: 8 + 2 + 12 * 10 + 4, 325: len(data)}  # fmt: skip
    return tiff(tags, data)


@kind("tiff, LZMA with a window of 1.5 GB, 88 Mpx", _PIXELS, "tiff")
def lzma_window() -> bytes:
    packer = lzma.LZMACompressor(preset=0)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(-(-3 * _PIXELS >> 20))]
    data = bytearray(b"".join([*parts, packer.flush()]))
    # The header of the block behind that of the stream: size, flags, LZMA2, its window (.xz, 3.1).
    end = 12 + 4 * data[12]
    at = data.index(b"\x21\x01", 12, end)
    data[at + 2] = 37
    struct.pack_into("<I", data, end, zlib.crc32(data[12:end]))
    return _page(bytes(data), 34925)


@kind("tiff, 50 MB between its parts")
def gap() -> bytes:
    data = photo(5, 64, 48).tobytes()
    tags = {256: 64, 257: 48, 258: 8, 259: 1, 262: 2, 273: 0, 277: 3, 278: 48, 279: len(data)}
    return tiff(tags, data + bytes(FILL))


@kind("tiff, 1,990 tags of 49 MB")
def long_tags() -> bytes:
    body = tiff_photo(photo(5, 64, 48))
    (at,) = struct.unpack_from("<I", body, 4)
    (count,) = struct.unpack_from("<H", body, at)
    good = body[at + 2 : at + 2 + 12 * count]
    tags = b"".join(struct.pack("<HHII", 40_000 + n, 1, FILL - 50_000, 8) for n in range(1970))
    start = b"II*\0" + struct.pack("<I", len(body)) + body[8:]
    directory = struct.pack("<H", count + 1970) + good + tags + bytes(4)
    return (start + directory).ljust(FILL, b"\0")


@kind("bmp, 25M runs of a pixel", 4900 * 4900, "bmp")
def short_runs() -> bytes:
    return _rle(4900, (b"\1\0" * 4900 + b"\0\0") * 4900)


@kind("bmp, runs of 88 Mpx", _PIXELS, "bmp")
def long_runs() -> bytes:
    row = b"\xff\0" * (SIDE // 255) + bytes([SIDE % 255, 0]) + b"\0\0"
    return _rle(SIDE, row * SIDE)


@kind("bmp, moves over 88 Mpx", _PIXELS, "bmp")
def moves() -> bytes:
    return _rle(SIDE, b"\0\2\0\xff" * (SIDE // 255) + b"\0\1")


@kind("bmp, 25M moves of nothing", 100 * 100, "bmp")
def empty_moves() -> bytes:
    return _rle(100, b"\0\2\0\0" * (FILL // 4) + b"\0\1")


def _rle(side: int, data: bytes) -> bytes:
    """A BMP of 8 bits in runs (BI_RLE8)."""
    start = 14 + 40 + 1024
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(data), 0, 0, 256, 0)
    colours = bytes(range(256)) * 4
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + colours + data


@kind("bmp, 50 MB before the pixels")
def bmp_gap() -> bytes:
    body = bmp(photo(5, 64, 48))
    moved = body[:10] + struct.pack("<I", 54 + FILL) + body[14:54]
    return moved + bytes(FILL) + body[54:]


@kind("pnm, 50 MB of digits, 8 Mpx", 2860 * 2860, "pnm")
def digits() -> bytes:
    return b"P3 2860 2860 255\n" + b"1 " * (3 * 2860 * 2860)


@kind("pnm, 50 MB of bits as digits, 24 Mpx", 4900 * 4900, "pnm")
def bit_digits() -> bytes:
    return b"P1 4900 4900\n" + b"1 " * (4900 * 4900)


@kind("pnm, a bit a pixel, 88 Mpx", _PIXELS, "pnm")
def bits() -> bytes:
    return b"P4 %d %d\n" % (SIDE, SIDE) + bytes(SIDE // 8 * SIDE)


@kind("pnm, a row of 88 Mpx", _PIXELS, "pnm")
def row() -> bytes:
    return b"P4 %d 1\n" % _PIXELS + bytes(_PIXELS // 8 + 1)


@kind("pnm, 50 MB of comments")
def pnm_comments() -> bytes:
    return b"P3 16 16 255\n" + b"#\n" * (FILL // 2) + b"1 " * 768


@kind("pnm, 50 MB behind the pixels")
def pnm_tail() -> bytes:
    return pnm(photo(5, 64, 48)) + bytes(FILL)


@kind("pnm, 25M numbers of digits", 256, "pnm")
def more_digits() -> bytes:
    return b"P3 16 16 255\n" + b"1 " * (FILL // 2)
