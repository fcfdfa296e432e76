"""Resize pixels, and pad or crop them, by a geometry.

The extension `_resample` has the two default filters. Without it OpenCV's are used, which differ by
one level of 255 at most and take four times as long.
"""

from __future__ import annotations

import cv2
import numpy as np

from img2ds.image.geometry import Geometry
from img2ds.image.native import load
from img2ds.image.orient import Pixels, swaps_sides, upright

_resample = load("resample")

#: OpenCV's filters by the names that img2dataset gives them.
FILTERS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "bilinear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
    "lanczos4": cv2.INTER_LANCZOS4,
}

_WHITE = 255


def resize(pixels: Pixels, geometry: Geometry, orientation: int, filter_name: str) -> Pixels:
    """Resize, orient, then pad or crop.

    Args:
        pixels: [height, width, 3] or [height, width], as stored.
        geometry: of the upright image.

    Returns:
        RGB [final height, final width, 3], contiguous.
    """
    size = geometry.resized
    if swaps_sides(orientation):
        size = (size[1], size[0])  # orienting comes second, when there are fewer pixels
    if orientation == 1 and pixels.ndim == 3 and geometry.pads:
        canvas = np.full((geometry.final[1], geometry.final[0], 3), _WHITE, np.uint8)
        top, left = geometry.top, geometry.left
        _scale_into(canvas[top : top + size[1], left : left + size[0]], pixels, filter_name)
        return canvas
    if (pixels.shape[1], pixels.shape[0]) != size:
        scaled = np.empty((size[1], size[0], *pixels.shape[2:]), np.uint8)
        _scale_into(scaled, pixels, filter_name)
        pixels = scaled
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2RGB)
    return pad_or_crop(upright(pixels, orientation), geometry)


def pad_or_crop(pixels: Pixels, geometry: Geometry) -> Pixels:
    """Add the border to an upright image of the size `geometry.resized`, or crop it.

    Returns:
        RGB [final height, final width, 3], contiguous; `pixels` itself if it is that already.
    """
    if geometry.final != geometry.resized:
        width, height = geometry.resized
        left, top = geometry.left, geometry.top
        if geometry.pads:
            canvas = np.full((geometry.final[1], geometry.final[0], 3), _WHITE, np.uint8)
            canvas[top : top + height, left : left + width] = pixels
            return canvas
        pixels = pixels[top : top + geometry.final[1], left : left + geometry.final[0]]
    return np.ascontiguousarray(pixels)


def _scale_into(target: Pixels, source: Pixels, filter_name: str) -> None:
    """Fill `target`, which may be a part of a larger array, with `source` resized."""
    if source.shape == target.shape:
        target[:] = source
        return
    height, width = target.shape[:2]
    if _resample is not None:
        if filter_name in ("lanczos", "lanczos4"):
            _resample.resample(np.ascontiguousarray(source), target, _resample.LANCZOS)
            return
        # OpenCV is faster at integer ratios. If a side grows, its "area" is linear interpolation.
        whole = source.shape[0] % height == 0 and source.shape[1] % width == 0
        shrinks = source.shape[0] >= height and source.shape[1] >= width
        if filter_name == "area" and shrinks and not whole:
            _resample.resample(np.ascontiguousarray(source), target, _resample.AREA)
            return
    target[:] = cv2.resize(source, (width, height), interpolation=FILTERS[filter_name])
