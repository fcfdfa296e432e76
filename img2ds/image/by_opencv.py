"""Decode by OpenCV: PNG and WebP, and BMPs in runs."""

from __future__ import annotations

import cv2
import numpy as np

from img2ds.image.decode_error import BROKEN, DecodeError
from img2ds.image.header import Header
from img2ds.image.icc import early_conversion
from img2ds.image.orient import Pixels
from img2ds.image.strips import flatten, narrow, swap_colours

# A worker has one core: its codecs must not start threads.
cv2.setNumThreads(1)
# Errors go to the image's row, not to stderr as well: 0 is silent. OpenCV 5 moved the function.
_set_log_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
_set_log_level(0)


def decode_indices(body: bytes) -> Pixels:
    """Decode an image of grey levels to [height, width].

    Raises:
        DecodeError: the body is broken.
    """
    return _decode(body, cv2.IMREAD_GRAYSCALE)


def decode_by_opencv(body: bytes | bytearray, header: Header) -> Pixels:
    """Decode to RGB or grey, 8 bits, on white.

    Raises:
        DecodeError: the body is broken.
    """
    pixels = _decode(body, cv2.IMREAD_UNCHANGED)
    if pixels.dtype == np.uint16:
        pixels = narrow(pixels)
    if pixels.ndim == 2:
        return pixels
    convert = early_conversion(header)
    if pixels.shape[2] == 4:
        return flatten(pixels, convert, reverse=True)
    pixels = swap_colours(pixels)
    return pixels if convert is None else convert(pixels)


def _decode(body: bytes | bytearray, kind: int) -> Pixels:
    try:
        pixels: Pixels | None = cv2.imdecode(np.frombuffer(body, np.uint8), kind)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise DecodeError(BROKEN)
    return pixels
