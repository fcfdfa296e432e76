"""AVIFs and JPEG 2000s, whose decoders allocate most for a pixel, and colour profiles."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from tests.attack.kind import FILL, SIDE, kind
from tests.image.avif_files import box, coded, still
from tests.image.icc_profiles import table_profile
from tests.server.encodings import avif, jpeg2000
from tests.server.photos import photo

_PIXELS = SIDE * SIDE
#: Side of an AVIF of 8 x 8 tiles.
_GRID, _TILE = 9408, 1176


@kind("avif, a grid of 88 Mpx of one colour", _GRID * _GRID, "avif")
def grid() -> bytes:
    data, config = coded(np.zeros((_TILE, _TILE, 3), np.uint8))
    layout = struct.pack(">BBBBHH", 0, 0, 7, 7, _GRID, _GRID)
    items = [(b"grid", layout)] + [(b"av01", data)] * 64
    return still((_GRID, _GRID), items, config, tile=(_TILE, _TILE))


@kind("avif, transparent, 88 Mpx of one colour", _PIXELS, "avif_alpha")
def one_colour() -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (SIDE, SIDE)).save(file, "AVIF", quality=50, speed=10)
    return file.getvalue()


@kind("avif, 6M free boxes")
def free_boxes() -> bytes:
    body = avif(photo(5, 48, 32))
    first = int.from_bytes(body[:4], "big")
    return body[:first] + box(b"free") * ((FILL - len(body)) // 8) + body[first:]


@kind("avif, 50 MB behind the image")
def avif_tail() -> bytes:
    return avif(photo(5, 48, 32)) + box(b"free", bytes(FILL - 100_000))


def _codestream(side: int, levels: int = 5, layers: int = 1, channels: int = 3) -> bytes:
    """A tile of empty packets (ISO/IEC 15444-1, annex B.10.3)."""
    size = struct.pack(
        ">HHIIIIIIIIH", 38 + 3 * channels, 0, side, side, 0, 0, side, side, 0, 0, channels
    )
    siz = b"\xff\x51" + size + b"\7\1\1" * channels
    cod = b"\xff\x52" + struct.pack(">HBBHBBBBBB", 12, 0, 0, layers, 0, levels, 4, 4, 0, 1)
    qcd = b"\xff\x5c" + struct.pack(">HB", 4 + 3 * levels, 0x40) + b"\x48" * (1 + 3 * levels)
    packets = bytes(layers * channels * (levels + 1))
    sot = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 14 + len(packets), 0, 1)
    return b"\xff\x4f" + siz + cod + qcd + sot + b"\xff\x93" + packets + b"\xff\xd9"


@kind("jpeg 2000, 88 Mpx in 120 bytes", _PIXELS, "jpeg2000")
def empty_packets() -> bytes:
    return _codestream(SIDE)


@kind("jpeg 2000, transparent, 88 Mpx in 120 bytes", _PIXELS, "jpeg2000")
def empty_packets_of_four() -> bytes:
    return _codestream(SIDE, channels=4)


@kind("jpeg 2000, 65,535 layers of 1 Mpx", 1024 * 1024, "jpeg2000")
def layers() -> bytes:
    return _codestream(1024, layers=65_535)


@kind("jpeg 2000, 12M comments")
def comments() -> bytes:
    body = _codestream(16)
    at = body.index(b"\xff\x90")
    return body[:at] + b"\xff\x64\0\2" * ((FILL - len(body)) // 4) + body[at:]


@kind("jpeg 2000, 50 MB of packets behind the last", 48 * 32, "jpeg2000")
def more_packets() -> bytes:
    body = _codestream(48)
    start = body.index(b"\xff\x90")
    data = bytes(FILL - 200)
    sot = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 14 + len(data), 0, 1)
    return body[:start] + sot + b"\xff\x93" + data + b"\xff\xd9"


@kind("jpeg 2000, 50 MB behind the image")
def jpeg2000_tail() -> bytes:
    return jpeg2000(photo(5, 48, 32)) + bytes(FILL)


def _profiled(profile: bytes, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo(5, 48, 32)).save(file, kind, icc_profile=profile, **options)
    return file.getvalue()


def _table(seed: int, points: int, width: int) -> bytes:
    noise = np.random.default_rng(seed).bytes(points**3 * 3 * width)
    return table_profile(b"mft2" if width == 2 else b"mft1", points, noise)


@kind("icc, a table of 69 x 69 x 69")
def large_table() -> bytes:
    return _profiled(_table(1, 69, 2), "PNG")


@kind("icc, 64 tables of 2 MB", count=64)
def tables(number: int) -> bytes:
    return _profiled(_table(number, 69, 2), "JPEG")


@kind("icc, a table for 20 Mpx of RGBA", 4472 * 4472, "png_rgba")
def table_for_many() -> bytes:
    file = io.BytesIO()
    image = Image.new("RGBA", (4472, 4472), (1, 2, 3, 128))
    image.save(file, "PNG", icc_profile=_table(2, 33, 2), compress_level=1)
    return file.getvalue()


@kind("icc, 16 MB in 255 segments")
def long_profile() -> bytes:
    body = _profiled(b"", "JPEG")
    parts = [
        b"\xff\xe2" + struct.pack(">H", 65_535) + b"ICC_PROFILE\0" + bytes([number, 255])
        + bytes(65_533 - 14) for number in range(1, 256)
    ]  # fmt: skip
    return body[:2] + b"".join(parts) + body[2:]
