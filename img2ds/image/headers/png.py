"""The header of a PNG (PNG 3rd edition, 5 and 11)."""

from __future__ import annotations

import struct
import zlib

from img2ds.image.header import MAX_ICC, Header, plausible_icc


def read_header(body: bytes | bytearray) -> Header:
    """Read IHDR and the chunks before the first IDAT."""
    width, height, depth, colour = struct.unpack_from(">IIBB", body, 16)
    header = Header("png", width, height, 1 if colour in (0, 4) else 3, depth)
    header.palette = colour == 3
    header.transparent = colour in (4, 6)
    header.complete = body.rfind(b"IEND") > 0
    at = 8
    while at + 8 <= len(body):
        length, kind = struct.unpack_from(">I4s", body, at)
        if kind == b"IDAT":
            break
        if kind == b"tRNS":
            header.transparent = True
        elif kind == b"acTL":
            header.animated = True
        elif kind == b"eXIf":
            header.exif = bytes(body[at + 8 : at + 8 + length])
        elif kind == b"iCCP":
            name, _, packed = bytes(body[at + 8 : at + 8 + length]).partition(b"\0")
            header.icc = _inflate_icc(packed[1:]) if name else None
        at += length + 12
    return header


def _inflate_icc(packed: bytes) -> bytes | None:
    try:
        return plausible_icc(zlib.decompressobj().decompress(packed, MAX_ICC))
    except zlib.error:
        return None
