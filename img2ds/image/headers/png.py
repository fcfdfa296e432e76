"""The header of a PNG (PNG 3rd edition, 5 and 11)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.header import MAX_ICC, Header, plausible_icc

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Bytes of a chunk besides its data: length, type and CRC.
AROUND = 12
#: Most chunks that are read. Encoders write one for 8 kB.
_MAX_CHUNKS = 100_000
#: Most chunks whose CRC is checked: a decoder ignores one that is wrong, and the next may be right.
_MAX_CHECKED = 100

#: Bytes of the largest pixel; times that data may be as long as pixels and their filters: what does
#: not shrink is stored; and bytes that they may have besides.
_PIXEL, _MOST_DATA, _SPARE_DATA = 8, 2, 65_536

_CHECKED = (b"tRNS", b"eXIf", b"iCCP")

# Colour types (11.2.1).
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6


def chunks(body: bytes | bytearray) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type of each chunk, and where its data start and end; the end may be missing."""
    at = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(body):
            return
        length, kind = struct.unpack_from(">I4s", body, at)
        yield kind, at + 8, at + 8 + length
        at += length + AROUND


def has_crc(body: bytes | bytearray, start: int, end: int) -> bool:
    """Return whether the chunk with data from `start` to `end` has the right CRC."""
    data = memoryview(body)[start - 4 : end]
    return zlib.crc32(data) == int.from_bytes(body[end : end + 4], "big")


def read_header(body: bytes | bytearray) -> Header | Failure:
    """Read IHDR, and the chunks that matter. One with a wrong CRC is ignored, as libpng does."""
    header: Header | None = None
    colours = colour = 0
    data = profiled = False
    length = 0
    left = _MAX_CHECKED
    for kind, start, end in chunks(body):
        if kind == b"IHDR" and header is None:
            width, height, depth, colour, interlace = struct.unpack_from(">IIBB2xB", body, start)
            header = Header("png", width, height, 3 if colour & _RGB else 1, depth)
            header.passes = bool(interlace)
            header.palette = colour == _PALETTE
            header.transparent = colour in (_GREY_ALPHA, _RGBA)
            header.complete = False
        elif header is None:
            continue  # a comment that precedes IHDR
        elif kind == b"IDAT":
            data = True
            length += end - start
        elif kind == b"PLTE" and not colours:
            colours = (end - start) // 3
        elif kind == b"IEND":
            header.complete = True
            break
        elif kind not in _CHECKED or not left:
            continue
        elif kind == b"tRNS" and not data:
            left -= 1
            header.transparent |= fits(colour, end - start, colours) and has_crc(body, start, end)
        elif kind == b"eXIf" and header.exif is None:
            left -= 1
            if has_crc(body, start, end):
                header.exif = bytes(body[start:end])
        elif kind == b"iCCP" and not data and not profiled:
            left -= 1
            profiled = has_crc(body, start, end)
            if profiled:
                name, _, packed = bytes(body[start:end]).partition(b"\0")
                header.icc = _inflate_icc(packed[1:]) if name else None
    if header is None:
        raise IndexError
    most = header.width * header.height * _PIXEL + header.height + _SPARE_DATA
    if length > _MOST_DATA * most:
        return failure(Reason.IMAGE_BOMB, "PNG of more data than its pixels have")
    if header.palette and data and not colours:
        return failure(Reason.DECODE_ERROR, "PNG without its palette")
    return header


def fits(colour: int, length: int, colours: int) -> bool:
    """Return whether a tRNS chunk can have this length.

    Args:
        colour: the colour type.
        colours: of the palette, as far as it was read.
    """
    if colour == _PALETTE:
        return 0 < length <= colours
    return length == {_GREY: 2, _RGB: 6}.get(colour)


def _inflate_icc(packed: bytes) -> bytes | None:
    try:
        return plausible_icc(zlib.decompressobj().decompress(packed, MAX_ICC))
    except zlib.error:
        return None
