"""Boxes, mostly around faces, and blurring what they enclose.

A box is [left, top, right, bottom] in fractions of the picture as it is stored, before EXIF turns
it: img2dataset's format and its frame, in which DataComp's boxes are. The blur is the one
of ImageNet's face obfuscation (Yang et al. 2022), which img2dataset took over: see `blur`.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
import orjson

from img2ds.image.orient import Pixels, mirrors, swaps_sides

Box = tuple[float, float, float, float]
Boxes = tuple[Box, ...]

#: Of the longer side of a box: how far around it is blurred too, and the blur's sigma.
MARGIN = SIGMA = 0.1
#: Pixels; what a box of 8 pixels has, in which nobody is known again.
MIN_SIGMA = 0.8
#: Sigmas: how far a kernel reaches (img2dataset until 1.45), and how far around the margin there
#: is anything to change by half a level of 255.
KERNEL_REACH, MASK_REACH = 4.0, 3.0
#: Pixels; a stronger blur is made in a picture as many times smaller, for its time would
#: grow with its square (20 s for a large face in 12 megapixels). Half a level apart on average.
FINE_SIGMA = 2.5
#: Boxes of one picture; a crowd has some hundreds of faces.
MAX_BOXES = 1000


class BoxError(ValueError):
    """What should be boxes is none."""


def read_boxes(value: Any) -> Boxes:
    """Boxes from a cell: a list of lists, such a list as JSON text, or nothing for no boxes.

    What hangs over the picture's edge is cut off. A box that is no box is never left out: it
    may have been meant to hide someone.

    Raises:
        BoxError: it is no list of boxes, or one of these has no area, or none in the picture.
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
        with suppress(OverflowError):  # a whole number that no float holds
            sides = [float(side) for side in box if type(side) in (int, float)]
    if len(sides) != 4 or not all(map(math.isfinite, sides)):
        raise BoxError("a box is four numbers: left, top, right, bottom")
    left, top, right, bottom = sides
    if left >= right or top >= bottom:
        raise BoxError("a box has no area: it is left, top, right, bottom")
    # More than another picture beyond an edge is no inaccuracy of a detector, but pixels.
    if min(left, top) < -1 or max(right, bottom) > 2 or not (left < 1 > top and right > 0 < bottom):
        raise BoxError("a box is not in fractions of the picture, 0 to 1")
    return max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)


def turned(boxes: Boxes, orientation: int) -> Boxes:
    """Boxes of a picture as stored where they lie once it is upright."""
    flip, flop = mirrors(orientation)
    found = []
    for left, top, right, bottom in boxes:
        if swaps_sides(orientation):
            left, top, right, bottom = top, left, bottom, right
        if flip:
            left, right = 1 - right, 1 - left
        if flop:
            top, bottom = 1 - bottom, 1 - top
        found.append((left, top, right, bottom))
    return tuple(found)


def blur(pixels: Pixels, boxes: Boxes) -> Pixels:
    """The picture with what is in the boxes blurred, in place where that can be.

    Each box is enlarged by a tenth of its longer side, and mixed with the picture blurred by a
    sigma of a tenth as well, by a mask blurred in the same way. img2dataset does so with one sigma
    for all boxes, the largest box's: the small ones' masks are then blurred away, and small faces
    left as they are. Here each box has its own. (Its 1.47 has also lost two thirds of the sigma, by
    giving a kernel's size alone.)

    Args:
        pixels: uint8 [height, width, 3].
        boxes: of the picture as it is here.
    """
    if boxes and not pixels.flags.writeable:
        pixels = pixels.copy()
    height, width = pixels.shape[:2]
    for left, top, right, bottom in boxes:
        longer = max((right - left) * width, (bottom - top) * height)
        sigma = max(SIGMA * longer, MIN_SIGMA)
        columns, across = _mask(left * width, right * width, MARGIN * longer, sigma, width)
        rows, down = _mask(top * height, bottom * height, MARGIN * longer, sigma, height)
        place = pixels[rows, columns]
        weights = np.outer(down, across)
        place[:] = cv2.blendLinear(_blurred(place, sigma), place, weights, 1 - weights)
    return pixels


def _mask(
    start: float, stop: float, margin: float, sigma: float, side: int
) -> tuple[slice, Pixels]:
    """Along one axis: the pixels to change, and what weight the blurred picture has in each.

    The blur of a rectangle is the product of those of its sides.
    """
    first, last = max(math.floor(start - margin), 0), min(math.ceil(stop + margin), side)
    reach = math.ceil(MASK_REACH * sigma)
    begin, end = max(first - reach, 0), min(last + reach, side)
    line = np.zeros((1, end - begin), np.float32)
    line[0, first - begin : last - begin] = 1
    return slice(begin, end), cv2.GaussianBlur(line, (_kernel(sigma), 1), sigma, sigmaY=1)[0]


def _blurred(pixels: Pixels, sigma: float) -> Pixels:
    height, width = pixels.shape[:2]
    times = int(sigma / FINE_SIGMA)
    if times > 1:
        small = max(1, round(width / times)), max(1, round(height / times))
        scaled = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
        across, down = sigma * small[0] / width, sigma * small[1] / height
        scaled = cv2.GaussianBlur(scaled, (_kernel(across), _kernel(down)), across, sigmaY=down)
        return cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(pixels, (_kernel(sigma), _kernel(sigma)), sigma)


def _kernel(sigma: float) -> int:
    return 2 * math.ceil(KERNEL_REACH * sigma) + 1
