"""The common kinds of PNG: 8 bits, grey, RGB or RGBA, not interlaced.

igzip unpacks them (ISA-L, through `isal`) in half of zlib's time, and a compiled loop undoes the
row filters. Whatever is not plain, or wrong in any way, is left to the general decoder, which
also says what is wrong.
"""

from __future__ import annotations

import struct

import numpy as np

from img2ds.image.native import load
from img2ds.image.orient import Pixels
from img2ds.image.sniff import Header

_png = load("png")
try:
    from isal import isal_zlib
except ImportError:  # no wheel for this machine
    _png = None

#: Samples a pixel by colour type; palettes are not here.
_CHANNELS = {0: 1, 2: 3, 6: 4}
_SIGNATURE = 8
#: The chunk header, and the checksum behind its data (PNG 3rd ed. 5.3).
_AROUND = 12


def decode_png(body: bytes | bytearray, header: Header) -> Pixels | None:
    """[height, width, channels] as stored; None when this is not for this decoder."""
    if _png is None or header.depth != 8 or header.animated:
        return None
    colour, *methods = body[25:29]
    channels = _CHANNELS.get(colour)
    if channels is None or any(methods) or (header.transparent and colour != 6):
        return None
    packed = _data(body)
    if packed is None:
        return None
    expected = header.height * (1 + header.width * channels)
    unpacker = isal_zlib.decompressobj()
    try:
        raw = unpacker.decompress(packed, expected + 1)  # never more, whatever is packed in it
    except isal_zlib.IsalError:  # type: ignore[misc] # its stub has an instance for the class
        return None
    if len(raw) != expected or not unpacker.eof:
        return None
    pixels = np.empty((header.height, header.width, channels), np.uint8)
    return pixels if _png.unfilter(raw, pixels) else None


def _data(body: bytes | bytearray) -> bytes | None:
    """What all IDAT chunks hold together; None if one is damaged."""
    view = memoryview(body)
    pieces = []
    at = _SIGNATURE
    while at + _AROUND <= len(body):
        length, kind = struct.unpack_from(">I4s", body, at)
        if kind == b"IDAT":
            chunk = view[at + 4 : at + 8 + length]
            if view[at + 8 + length : at + _AROUND + length] != isal_zlib.crc32(chunk).to_bytes(
                4, "big"
            ):
                return None
            pieces.append(chunk[4:])
        elif pieces:
            break
        at += _AROUND + length
    return b"".join(pieces) if pieces else None
