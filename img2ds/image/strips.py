"""Change pixels strip by strip, so that intermediate values take no memory that counts.

Pixels of a picture take 4 bytes each as RGBA; whole arrays of wider intermediate values would take
five times that. The results here lie in the memory of their inputs.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from img2ds.image.icc import Conversion
from img2ds.image.orient import Pixels

#: Pixels of a strip: its intermediate values stay in the cache of a core. And of a band: a call for
#: each of them takes no time that counts.
_STRIP, _BAND = 1 << 15, 1 << 20

_WHITE = 255
#: White at full opacity, and what rounds.
_MOST = np.uint16(_WHITE * _WHITE + 127)


def strips(height: int, width: int, grain: int = 1) -> Iterator[slice]:
    """Yield slices of the rows of an image, from the top.

    Args:
        grain: what the number of rows of each but the last is a multiple of.
    """
    yield from _slices(height, width, grain, _STRIP)


def bands(height: int, width: int, grain: int = 1) -> Iterator[slice]:
    """Yield the same, larger ones."""
    yield from _slices(height, width, grain, _BAND)


def _slices(height: int, width: int, grain: int, pixels: int) -> Iterator[slice]:
    rows = max(1, pixels // max(1, width) // grain) * grain
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def on_white(pixels: Pixels, convert: Conversion | None = None) -> Pixels:
    """Blend RGBA [height, width, 4], or grey with alpha [height, width, 2], with white, rounded.

    Args:
        convert: converts the colours before.
    """
    height, width, channels = pixels.shape
    # Plane by plane, which vectorizes: white less what is missing of it.
    *planes, alpha = cv2.split(pixels)
    if convert is not None:
        planes = list(cv2.split(convert(pixels[:, :, :-1])))
    if alpha.min() < _WHITE:
        wide = alpha.astype(np.uint16)
        planes = [_blend(plane, wide) for plane in planes]
    return cv2.merge(planes).reshape(height, width, channels - 1)


def _blend(plane: Pixels, alpha: npt.NDArray[np.uint16]) -> Pixels:
    mixed: npt.NDArray[np.uint16] = np.bitwise_not(plane).astype(np.uint16)
    mixed *= alpha
    np.subtract(_MOST, mixed, out=mixed)
    mixed //= np.uint16(_WHITE)
    return mixed.astype(np.uint8)


def flatten(pixels: Pixels, convert: Conversion | None = None, *, reverse: bool = False) -> Pixels:
    """Blend pixels [height, width, 4] with white, in their memory.

    Args:
        convert: converts the colours before.
        reverse: the colours are BGR.

    Returns:
        RGB [height, width, 3]: a view of `pixels`, whose content is lost.
    """
    height, width = pixels.shape[:2]
    flat = pixels.reshape(-1)
    result = flat[: 3 * height * width].reshape(height, width, 3)
    for rows in strips(height, width):
        strip = pixels[rows]
        # A copy: the result of a strip may lie over what it was made of.
        strip = cv2.cvtColor(strip, cv2.COLOR_BGRA2RGBA) if reverse else strip
        result[rows] = on_white(strip, convert)
    return result


def swap_colours(pixels: Pixels) -> Pixels:
    """Turn BGR pixels [height, width, 3] to RGB, in their memory."""
    for rows in strips(*pixels.shape[:2]):
        pixels[rows] = cv2.cvtColor(pixels[rows], cv2.COLOR_BGR2RGB)
    return pixels


def narrow(pixels: Pixels) -> Pixels:
    """Round 16-bit samples [height, width, ...] to eight bits, in their memory."""
    flat = pixels.reshape(-1)
    result = flat.view(np.uint8)[: flat.size].reshape(pixels.shape)
    for rows in strips(*pixels.shape[:2]):
        result[rows] = (pixels[rows].astype(np.uint32) + 128) // 257
    return result
