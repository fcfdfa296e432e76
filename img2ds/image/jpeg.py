"""The common kinds of JPEG, baseline and progressive, by a decoder of our own: on x86-64.

It takes half of libjpeg-turbo's time and gives its very levels. Whatever is rare, or wrong in any
way, is left to the general decoder, which also says what is wrong.
"""

from __future__ import annotations

import numpy as np

from img2ds.image.native import load
from img2ds.image.orient import Pixels
from img2ds.image.planes import Planes
from img2ds.image.sniff import Header

_jpeg = load("jpeg")

#: What JPEGs are divided by while they are decoded: the transforms that are vectorised. Those
#: between take longer than the next larger one, resizing counted.
DCT_SCALES = (8, 4, 2)

#: Pixels a side that the DCT's blocks have.
_SIDE = 8


def reduction(header: Header, least: tuple[int, int]) -> int:
    """The number to divide the sides by, rounding up, that leaves no less than `least`, width and
    height; 1 when that is (0, 0), which asks for all of it.
    """
    if least != (0, 0):
        for scale in DCT_SCALES:
            if -(-header.width // scale) >= least[0] and -(-header.height // scale) >= least[1]:
                return scale
    return 1


def decode_rgb(
    body: bytes | bytearray, header: Header, scale: int, buffer: Pixels | None
) -> Pixels | None:
    """RGB [height, width, 3] of a JPEG in colour, at 1 / `scale` of its size.

    Args:
        buffer: memory, uint8 [bytes], that the pixels are put into.

    Returns:
        None when this is not for this decoder.
    """
    if _jpeg is not None:
        shape = -(-header.height // scale), -(-header.width // scale), 3
        size = shape[0] * shape[1] * 3
        pixels = np.empty(shape, np.uint8) if buffer is None else buffer[:size].reshape(shape)
        if _jpeg.decode_rgb(body, _SIDE // scale, pixels):
            return pixels
    return None


def decode_planes(body: bytes | bytearray, scale: int, *, coarse: bool = False) -> Planes | None:
    """Planes of a JPEG, grey or in colour, at 1 / `scale` of its size.

    Args:
        coarse: chroma of half luma's size will do where it is stored as fine as luma.

    Returns:
        None when this is not for this decoder.
    """
    found = None
    if _jpeg is not None:
        found = _jpeg.decode_planes(body, _SIDE // scale, coarse)
    if found is None:
        return None
    buffer, pitch, places = found
    y, *chroma = (
        np.ndarray((height, width), np.uint8, buffer, offset, (stride, 1))
        for offset, stride, width, height in places
    )
    cb, cr = chroma or (None, None)
    return Planes(y, cb, cr, pitch)
