"""Resize luma and chroma planes, from the resolutions of the decoder to those of the encoder.

A JPEG that is encoded as JPEG needs no conversion to RGB: chroma is resampled from its own
resolution to that of 4:2:0. The image is the same as through RGB, but for how chroma is
interpolated between its samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from img2ds.image.geometry import Geometry
from img2ds.image.native import load
from img2ds.image.orient import Pixels, flips, swaps_sides

_planes = load("planes")

_WHITE = 255

#: One axis of a plane, see `resample_planes` in `native/_planes.c`.
_Axis = tuple[int, int, int, int, int, int, bool]


@dataclass(frozen=True, slots=True)
class Planes:
    """An image in YCbCr (JFIF: full range, chroma sited between the luma samples it covers).

    Attributes:
        y: uint8 [height, width].
        cb, cr: uint8 [ceil(height / pitch[1]), ceil(width / pitch[0])]; None for grey images.
        pitch: luma samples that a chroma sample covers, horizontally and vertically; each 1 or 2.

    Columns are contiguous, rows need not be.
    """

    y: Pixels
    cb: Pixels | None
    cr: Pixels | None
    pitch: tuple[int, int] = (2, 2)


def can_resize(geometry: Geometry, size: tuple[int, int], filter_name: str) -> bool:
    """Return whether `resize_planes` supports this: the default filters, or no change of size.

    Args:
        size: width and height of the upright image as stored in the file.
    """
    eight_taps = filter_name in ("lanczos", "lanczos4")
    averages = filter_name == "area" and geometry.shrinks
    return _planes is not None and (eight_taps or averages or geometry.resized == size)


def resize_planes(planes: Planes, geometry: Geometry, orientation: int, filter_name: str) -> Planes:
    """Resize, orient, then pad or crop.

    Args:
        planes: as stored; with "area" no smaller than `geometry.resized`.
        geometry: of the upright image.
        filter_name: one that `can_resize` accepts.

    Returns:
        4:2:0 planes of the final size, contiguous; without chroma if `planes` has none.

    Raises:
        ValueError: the chroma planes do not have the size that luma and pitch imply, or "area" is
            to enlarge.
    """
    assert _planes is not None, "the caller asks `can_resize` first"
    resample = _planes.resample_planes
    kernel = _planes.LANCZOS if filter_name in ("lanczos", "lanczos4") else _planes.AREA
    swap = swaps_sides(orientation)
    height, width = planes.y.shape
    across, down = planes.pitch
    if swap:  # from here on sides are those of the upright image
        width, height, across, down = height, width, down, across
    flip_columns, flip_rows = flips(orientation)
    resized_width, resized_height = geometry.resized
    final_width, final_height = geometry.final
    # The first pixel of the result, counted in the resized image; negative if there is a border.
    left, top = (-geometry.left, -geometry.top) if geometry.pads else (geometry.left, geometry.top)

    def axes(
        pitch: tuple[int, int], start: tuple[int, int], size: tuple[int, int], grain: int
    ) -> tuple[_Axis, _Axis]:
        horizontal = (width, pitch[0], resized_width, start[0], size[0], grain, flip_columns)
        vertical = (height, pitch[1], resized_height, start[1], size[1], grain, flip_rows)
        return (horizontal, vertical) if swap else (vertical, horizontal)

    if geometry.pads:
        y = np.full((final_height, final_width), _WHITE, np.uint8)
        inner = y[-top : resized_height - top, -left : resized_width - left]
        luma = axes((1, 1), (0, 0), geometry.resized, 1)
        resample(((planes.y, inner),), kernel, *luma, swap)
    else:
        y = np.empty((final_height, final_width), np.uint8)
        luma = axes((1, 1), (left, top), geometry.final, 1)
        resample(((planes.y, y),), kernel, *luma, swap)
    if planes.cb is None or planes.cr is None:
        return Planes(y, None, None)
    cb, cr = np.empty((2, (final_height + 1) // 2, (final_width + 1) // 2), np.uint8)
    chroma = axes((across, down), (left, top), geometry.final, 2)
    resample(((planes.cb, cb), (planes.cr, cr)), kernel, *chroma, swap)
    return Planes(y, cb, cr)
