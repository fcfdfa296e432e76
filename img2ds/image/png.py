"""Decode common PNGs, 8 bits, grey, RGB or RGBA, not interlaced, by the extension `_png`.

igzip (ISA-L, through `isal`) inflates the data in half the time of zlib; the extension reverses the
row filters. It declines whatever is rare or broken; the general decoder then decodes it, or states
the error.
"""

from __future__ import annotations

import numpy as np

from img2ds.image.header import Header
from img2ds.image.headers.png import chunks
from img2ds.image.native import load
from img2ds.image.orient import Pixels
from img2ds.image.strips import strips

_png = load("png")
try:
    from isal import igzip_lib, isal_zlib
except ImportError:  # no wheel for this machine
    _png = None

#: Samples a pixel, by colour type; not of palettes.
_CHANNELS = {0: 1, 2: 3, 6: 4}


def decode_png(body: bytes | bytearray, header: Header) -> Pixels | None:
    """Decode to [height, width, channels] as stored; None if the extension declines."""
    if _png is None or header.depth != 8 or body[12:16] != b"IHDR":
        return None
    colour, *methods = body[25:29]
    channels = _CHANNELS.get(colour)
    if channels is None or any(methods) or (header.transparent and colour != 6):
        return None
    packed = _data(body)
    if packed is None:
        return None
    pixels = np.empty((header.height, header.width, channels), np.uint8)
    return pixels if _unpack(packed, pixels) else None


def _unpack(packed: bytes, pixels: Pixels) -> bool:
    """Inflate and unfilter into `pixels`, some rows at a time; return whether all went well."""
    assert _png is not None
    height, width, channels = pixels.shape
    length = 1 + width * channels
    unpacker = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_ZLIB)
    above = b""
    try:
        for rows in strips(height, width):
            wanted = (rows.stop - rows.start) * length
            raw = unpacker.decompress(packed if not rows.start else b"", wanted)
            if len(raw) != wanted:
                return False
            # The row above goes along, unfiltered: the filters refer to it.
            start = max(rows.start - 1, 0)
            if not _png.unfilter(above + raw, pixels[start : rows.stop]):
                return False
            above = b"\0" + pixels[rows.stop - 1].tobytes()
        more = b"" if unpacker.eof else unpacker.decompress(b"", 1)
    except (igzip_lib.IsalError, EOFError):  # type: ignore[misc] # as its stub has it
        return False
    return unpacker.eof and not more


def _data(body: bytes | bytearray) -> bytes | None:
    """Concatenate the data of the IDAT chunks; None if one has a wrong CRC."""
    view = memoryview(body)
    pieces = []
    for kind, start, end in chunks(body):
        if kind == b"IDAT":
            chunk = view[start - 4 : end]
            if view[end : end + 4] != isal_zlib.crc32(chunk).to_bytes(4, "big"):
                return None
            pieces.append(chunk[4:])
        elif pieces:
            break
    return b"".join(pieces) if pieces else None
