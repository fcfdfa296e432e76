"""Decode common JPEGs, baseline and progressive, by the extension `_jpeg`. x86-64 only.

It takes half the time of libjpeg-turbo, and its pixels are the same. It declines whatever is rare
or broken; the general decoder then decodes it, or states the error.
"""

from __future__ import annotations

import numpy as np

from img2ds.image.header import Header
from img2ds.image.native import load
from img2ds.image.orient import Pixels
from img2ds.image.planes import Planes

_jpeg = load("jpeg")

#: The reduced sizes that JPEGs are decoded at, as divisors: those whose inverse DCT is vectorised.
#: The other eighths take longer than the next larger one, resizing included.
DCT_SCALES = (8, 4, 2)

#: Pixels a side of a DCT block.
_SIDE = 8
#: Most pixels a side of an MCU that the extension decodes: blocks of one of them are all decoded.
_MCU = 16


def reduction(header: Header, min_size: tuple[int, int]) -> int:
    """Return the largest divisor at which the image has at least `min_size`, width and height.

    Sides are rounded up. (0, 0) asks for the full size, which is 1. So does a lossless JPEG:
    libjpeg-turbo writes all its pixels whatever size was asked for, past the end of the memory.
    """
    if min_size != (0, 0) and not header.lossless:
        width, height = min_size
        for scale in DCT_SCALES:
            if -(-header.width // scale) >= width and -(-header.height // scale) >= height:
                return scale
    return 1


def memory_bound(body: bytes | bytearray, header: Header) -> int:
    """Return the most bytes that the extension allocates for a JPEG, besides the pixels returned.

    These are planes, 3 bytes a pixel; the coefficients of an image of several scans, 6.4; and a
    scan without stuffing. libjpeg-turbo needs as much for its coefficients.
    """
    width, height = (-(-side // _MCU) * _MCU for side in (header.width, header.height))
    return 10 * width * height + len(body) + 1000


def decode_rgb(
    body: bytes | bytearray,
    header: Header,
    scale: int,
    buffer: Pixels | None,
    limit: int | None = None,
) -> Pixels | None:
    """Decode a JPEG in colour to RGB [height, width, 3], at 1 / `scale` of its size.

    Args:
        buffer: memory, uint8 [bytes], to decode into.
        limit: most bytes to allocate besides; None: the `memory_bound`.

    Returns:
        None if the extension declines.
    """
    if _jpeg is not None:
        shape = -(-header.height // scale), -(-header.width // scale), 3
        size = shape[0] * shape[1] * 3
        pixels = np.empty(shape, np.uint8) if buffer is None else buffer[:size].reshape(shape)
        limit = memory_bound(body, header) if limit is None else limit
        if _jpeg.decode_rgb(body, _SIDE // scale, pixels, limit):
            return pixels
    return None


def decode_planes(
    body: bytes | bytearray,
    header: Header,
    scale: int,
    *,
    coarse: bool = False,
    limit: int | None = None,
) -> Planes | None:
    """Decode a JPEG, grey or in colour, to planes at 1 / `scale` of its size.

    Args:
        coarse: decode chroma at half the size of luma even if it is stored at the same size.
        limit: most bytes to allocate, planes included; None: the `memory_bound`.

    Returns:
        None if the extension declines.
    """
    decoded = None
    if _jpeg is not None:
        limit = memory_bound(body, header) if limit is None else limit
        decoded = _jpeg.decode_planes(body, _SIDE // scale, coarse, limit)
    if decoded is None:
        return None
    buffer, pitch, layout = decoded
    y, *chroma = (
        np.ndarray((height, width), np.uint8, buffer, offset, (stride, 1))
        for offset, stride, width, height in layout
    )
    cb, cr = chroma or (None, None)
    return Planes(y, cb, cr, pitch)
