"""Boxes around what is to be blurred, mostly faces. Pure.

A box is [left, top, right, bottom] in fractions of the image as stored, before EXIF orientation:
img2dataset's format, in which DataComp's boxes are.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import orjson

from img2ds.image.orient import flips, swaps_sides

Box = tuple[float, float, float, float]
Boxes = tuple[Box, ...]

#: Most boxes of one image; a crowd has some hundreds of faces.
MAX_BOXES = 1000


class BoxError(ValueError):
    """A value is not a list of boxes."""


def read_boxes(value: Any) -> Boxes:
    """Read the boxes of one row.

    A box is clipped to the image. A box that is not valid is an error, and never ignored: it may
    have been meant to hide someone.

    Args:
        value: a list of boxes, such a list as JSON text, or nothing (None, empty text).

    Raises:
        BoxError: it is not a list of boxes, or a box has no area, or lies outside the image.
    """
    if isinstance(value, (str, bytes)):
        text = value.strip()
        try:
            value = orjson.loads(text) if text else None
        except orjson.JSONDecodeError:
            raise BoxError("boxes are neither a list nor JSON text of one") from None
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise BoxError(f"boxes are a list, not {type(value).__name__}")
    if len(value) > MAX_BOXES:
        raise BoxError(f"more than {MAX_BOXES} boxes")
    return tuple(_read_box(box) for box in value)


def _read_box(box: Any) -> Box:
    sides: list[float] = []
    if isinstance(box, (list, tuple)) and len(box) == 4:
        with suppress(OverflowError):  # an integer that no float holds
            sides = [float(side) for side in box if type(side) in (int, float)]
    if len(sides) != 4 or not all(map(math.isfinite, sides)):
        raise BoxError("a box is four numbers: left, top, right, bottom")
    left, top, right, bottom = sides
    if left >= right or top >= bottom:
        raise BoxError("a box has no area: it is left, top, right, bottom")
    # Detectors go over an edge by a little; a box that goes further is in pixels.
    if min(left, top) < -1 or max(right, bottom) > 2 or not (left < 1 > top and right > 0 < bottom):
        raise BoxError("a box is not in fractions of the image, 0 to 1")
    return max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)


def orient_boxes(boxes: Boxes, orientation: int) -> Boxes:
    """Boxes of an image as stored, to those of the upright image."""
    flip_columns, flip_rows = flips(orientation)
    oriented = []
    for left, top, right, bottom in boxes:
        if swaps_sides(orientation):
            left, top, right, bottom = top, left, bottom, right
        if flip_columns:
            left, right = 1 - right, 1 - left
        if flip_rows:
            top, bottom = 1 - bottom, 1 - top
        oriented.append((left, top, right, bottom))
    return tuple(oriented)
