"""Decode the first frame of a WebP: by OpenCV, or if it is large by libwebp, at a fraction of its
size, or in bands.
"""

from __future__ import annotations

import numpy as np

from img2ds.image import libwebp
from img2ds.image.by_opencv import decode_by_opencv
from img2ds.image.canvas import LARGE, shrink
from img2ds.image.decode_error import BROKEN, TOO_MUCH_MEMORY, BombError, DecodeError
from img2ds.image.first_frame import place, plain_webp
from img2ds.image.header import Header
from img2ds.image.icc import early_conversion
from img2ds.image.orient import Pixels
from img2ds.image.strips import flatten
from img2ds.image.webp_bands import plan_bands

#: Bytes that OpenCV needs to know a WebP.
_SHORTEST = 32


def decode_webp(body: bytes | bytearray, header: Header, scale: int, memory: int | None) -> Pixels:
    """Decode to RGB [height, width, 3].

    Args:
        scale: the divisor of the size.
        memory: most bytes to allocate.

    Raises:
        DecodeError: the body is broken, or takes more memory.
    """
    if header.frame is not None:
        body = plain_webp(body, header.frame)
    frame = header.frame or header
    if frame.width * frame.height > LARGE and libwebp.is_there():
        if scale > 1:
            size = -(-frame.width // scale), -(-frame.height // scale)
            channels = 4 if header.transparent else 3
            pixels = _finished(libwebp.decode_webp(body, channels, size), header)
        else:
            pixels = _by_bands(body, header, memory)
        return place(pixels, header, scale)
    if len(body) < _SHORTEST:
        body = bytes(body).ljust(_SHORTEST, b"\0")
    return shrink(place(decode_by_opencv(body, header), header), scale)


def _finished(pixels: Pixels | None, header: Header) -> Pixels:
    if pixels is None:
        raise DecodeError(BROKEN)
    return flatten(pixels, early_conversion(header)) if pixels.shape[2] == 4 else pixels


def _by_bands(body: bytes | bytearray, header: Header, memory: int | None) -> Pixels:
    frame = header.frame or header
    width, height = frame.width, frame.height
    channels = 4 if header.transparent else 3
    bands = plan_bands(header, memory)
    if bands is None:
        raise BombError(TOO_MUCH_MEMORY)
    result = np.empty((height, width, 3), np.uint8)
    for band in bands:
        target = result[band] if channels == 3 else None
        pixels = libwebp.decode_webp(body, channels, (width, height), band, target)
        finished = _finished(pixels, header)
        if target is None:
            result[band] = finished
    return result
