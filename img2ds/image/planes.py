"""Luma and chroma apart, as JPEG stores them: resized from the decoder's grids to the encoder's.

A JPEG that becomes a JPEG need not pass through RGB: chroma goes from its own resolution straight
to that of 4:2:0, and no colour is converted. The picture is the one that the way through RGB
gives, but for how chroma is filled in between its samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from img2ds.image.geometry import Geometry
from img2ds.image.native import load
from img2ds.image.orient import Pixels, mirrors, swaps_sides

_planes = load("planes")

_WHITE = 255

#: For one axis of a plane, what `_planes.resample_planes` asks for.
_Axis = tuple[int, int, int, int, int, int, bool]


@dataclass(frozen=True, slots=True)
class Planes:
    """A picture in Y, Cb and Cr (JFIF: full range, chroma centred between the luma it covers).

    Attributes:
        y: uint8 [height, width].
        cb, cr: uint8 [ceil(height / pitch[1]), ceil(width / pitch[0])]; None for grey pictures.
        pitch: luma samples that a sample of chroma covers, across and down; each 1 or 2.

    Rows may lie apart, columns not.
    """

    y: Pixels
    cb: Pixels | None
    cr: Pixels | None
    pitch: tuple[int, int] = (2, 2)


def can_resize(geometry: Geometry, size: tuple[int, int], filter_name: str) -> bool:
    """Whether `resize_planes` knows this: the default filters, and whatever keeps its size.

    Args:
        size: width and height of the upright picture, before it is scaled in any way.
    """
    eight_taps = filter_name in ("lanczos", "lanczos4")
    averages = filter_name == "area" and geometry.shrinks
    return _planes is not None and (eight_taps or averages or geometry.resized == size)


def resize_planes(planes: Planes, geometry: Geometry, orientation: int, filter_name: str) -> Planes:
    """Resize, turn upright, add the border or crop.

    Args:
        planes: as stored; with "area" no smaller than `geometry.resized`.
        geometry: of the upright picture.
        filter_name: one that `can_resize` allows.

    Returns:
        4:2:0 planes of the final size, contiguous; without chroma as `planes`.

    Raises:
        ValueError: chroma is not of the size that luma and pitch say, or "area" is to enlarge.
    """
    assert _planes is not None, "the caller asks `can_resize` first"
    extension = _planes
    height, width = planes.y.shape
    swap = swaps_sides(orientation)
    across, down = planes.pitch
    if swap:  # from here on sides are those of the upright picture
        width, height, across, down = height, width, down, across
    final_width, final_height = geometry.final
    left, top = geometry.left, geometry.top
    flip, flop = mirrors(orientation)
    kernel = extension.LANCZOS if filter_name in ("lanczos", "lanczos4") else extension.AREA

    def resample(
        pairs: tuple[tuple[Pixels, Pixels], ...], horizontal: _Axis, vertical: _Axis
    ) -> None:
        rows, columns = (horizontal, vertical) if swap else (vertical, horizontal)
        extension.resample_planes(pairs, kernel, rows, columns, swap)

    resized_width, resized_height = geometry.resized
    if geometry.pads:
        y = np.full((final_height, final_width), _WHITE, np.uint8)
        place = y[top : top + resized_height, left : left + resized_width]
        resample(
            ((planes.y, place),),
            (width, 1, resized_width, 0, resized_width, 1, flip),
            (height, 1, resized_height, 0, resized_height, 1, flop),
        )
        left, top = -left, -top  # the final picture begins before the resized one
    else:
        y = np.empty((final_height, final_width), np.uint8)
        resample(
            ((planes.y, y),),
            (width, 1, resized_width, left, final_width, 1, flip),
            (height, 1, resized_height, top, final_height, 1, flop),
        )
    if planes.cb is None or planes.cr is None:
        return Planes(y, None, None)
    cb, cr = np.empty((2, (final_height + 1) // 2, (final_width + 1) // 2), np.uint8)
    resample(
        ((planes.cb, cb), (planes.cr, cr)),
        (width, across, resized_width, left, final_width, 2, flip),
        (height, down, resized_height, top, final_height, 2, flop),
    )
    return Planes(y, cb, cr)
