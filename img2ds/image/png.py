"""Decode common PNGs, 8 bits, grey, RGB or RGBA, not interlaced, by the extension `_png`.

igzip inflates the data, the extension reverses the row filters. It declines whatever is rare or
broken; the general decoder then decodes it, or states the error.
"""

from __future__ import annotations

import numpy as np

from img2ds.image.header import Header
from img2ds.image.native import load
from img2ds.image.orient import Pixels
from img2ds.image.png_data import HAS_IGZIP, Inflater, idat
from img2ds.image.strips import strips

_png = load("png") if HAS_IGZIP else None

#: Samples a pixel, by colour type; not of palettes.
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}


def is_common(body: bytes | bytearray, header: Header) -> bool:
    """Return whether a PNG is of a kind that `decode_png` decodes."""
    if _png is None or header.depth != 8 or body[12:16] != b"IHDR":
        return False
    colour, *methods = body[25:29]
    return colour in CHANNELS and not any(methods) and (colour == 6 or not header.transparent)


def decode_png(body: bytes | bytearray, header: Header) -> Pixels | None:
    """Decode to [height, width, channels] as stored; None if the extension declines."""
    if not is_common(body, header):
        return None
    packed = idat(body)
    if packed is None:
        return None
    pixels = np.empty((header.height, header.width, CHANNELS[body[25]]), np.uint8)
    return pixels if _unpack(packed, pixels) else None


def _unpack(packed: bytes, pixels: Pixels) -> bool:
    """Inflate and unfilter into `pixels`, some rows at a time; return whether all went well."""
    assert _png is not None
    height, width, channels = pixels.shape
    length = 1 + width * channels
    data = Inflater(packed)
    above = b""
    for rows in strips(height, width):
        wanted = (rows.stop - rows.start) * length
        raw = data.read(wanted)
        if len(raw) != wanted:
            return False
        # The row above goes along, unfiltered: the filters refer to it.
        start = max(rows.start - 1, 0)
        if not _png.unfilter(above + raw, pixels[start : rows.stop]):
            return False
        above = b"\0" + pixels[rows.stop - 1].tobytes()
    return data.ends()
