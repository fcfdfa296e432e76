"""The header of a BMP (BITMAPFILEHEADER and what follows it)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from img2ds.image.header import Header

#: Bytes of the file's header, and of OS/2's second header, which has sides of 16 bits.
_FILE, _CORE = 14, 12
#: Pixels by masks of bits, of which one may be of alpha; and in runs.
_PLAIN, _BITFIELDS, _RUNS = 0, 3, (1, 2)
#: Levels that an index can have, and bytes of a colour in a palette.
_LEVELS, _COLOUR = 256, 4
#: Most bytes that may precede the pixels of a file whose rows are read one by one.
_MAX_START = 65_536


@dataclass(frozen=True, slots=True)
class Rows:
    """How rows of pixels are stored, one behind the other.

    Attributes:
        start: where they begin.
        stride: bytes of a row.
        down: whether the first one is the uppermost.
    """

    start: int
    stride: int
    down: bool


def _fields(body: bytes | bytearray) -> tuple[int, int, int, int]:
    """Return width, height, bits a pixel and compression."""
    if struct.unpack_from("<I", body, _FILE) == (_CORE,):
        width, height, _, bits = struct.unpack_from("<HHHH", body, 18)
        return width, height, bits, _PLAIN
    width, height, _, bits, compression = struct.unpack_from("<IiHHI", body, 18)
    return width, height, bits, compression


def read_header(body: bytes | bytearray) -> Header:
    """Read the size. Rows from top to bottom have a negative height."""
    width, height, bits, compression = _fields(body)
    header = Header("bmp", width, abs(height), palette=bits <= 8)
    header.transparent = bits == 32 and compression == _BITFIELDS
    header.runs = compression in _RUNS
    if read_rows(body) is None:
        header.piece = header.width * header.height
    return header


def index_runs(body: bytes | bytearray) -> tuple[bytes, bytes]:
    """Return a BMP in runs with grey levels for its colours, which are their indices.

    Returns:
        The file; and its colours, in BGR and a byte each. Indices beyond them are black.
    """
    (start,) = struct.unpack_from("<I", body, 10)
    length, *_, bits = struct.unpack_from("<IiiHH", body, _FILE)
    stated = int.from_bytes(body[46:50], "little") if length >= 40 else 0
    palette = _FILE + length
    colours = min(stated or 1 << bits, 1 << bits, max(0, start - palette) // _COLOUR)
    head = bytearray(body[:palette])
    levels = b"".join(bytes([level] * 3 + [0]) for level in range(min(_LEVELS, 1 << bits)))
    struct.pack_into("<I", head, 10, palette + len(levels))
    struct.pack_into("<I", head, 46, 0)  # all of them
    pixels = memoryview(body)[start:]
    return b"".join([head, levels, pixels]), bytes(body[palette : palette + _COLOUR * colours])


def read_rows(body: bytes | bytearray) -> Rows | None:
    """Return where the rows are; None if they are compressed, or the file is unusual."""
    width, height, bits, compression = _fields(body)
    (start,) = struct.unpack_from("<I", body, 10)
    (length,) = struct.unpack_from("<I", body, _FILE)
    least = _FILE + length + (1 if bits <= 8 else 0)  # behind a palette
    if compression not in (_PLAIN, _BITFIELDS) or not least <= start <= _MAX_START:
        return None
    return Rows(start, (width * bits + 31) // 32 * 4, height < 0)


def rows_of(body: bytes | bytearray, height: int, rows: slice) -> bytes:
    """Return a BMP of some rows of one whose rows `read_rows` finds; they may be cut short.

    Args:
        height: of the image, in rows.
    """
    layout = read_rows(body)
    assert layout is not None
    count = rows.stop - rows.start
    head = bytearray(body[: layout.start])
    if struct.unpack_from("<I", body, _FILE) == (_CORE,):
        struct.pack_into("<H", head, 20, count)
    else:
        struct.pack_into("<i", head, 22, -count if layout.down else count)
    first = rows.start if layout.down else height - rows.stop
    at = layout.start + first * layout.stride
    return bytes(head) + bytes(memoryview(body)[at : at + count * layout.stride])
