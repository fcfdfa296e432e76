"""Decodes encoded images to the crop that a model needs of them.

JPEGs are decoded at a fraction of their size where that leaves enough pixels. What a central crop
would discard is cut off early.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.decode import decode
from img2ds.image.decode_error import BombError, DecodeError
from img2ds.image.geometry import Geometry
from img2ds.image.orient import orientation_of, swaps_sides, upright
from img2ds.image.resize import resize
from img2ds.image.sniff import sniff
from laion.clip.geometry import MAX_PIXELS, Axis, PreprocessConfig, plan_axes, receptive_range

#: Minimal oversampling of a JPEG decoded at a fraction of its size: its averaging is coarser than
#: the resizing that follows, which needs pixels to work on.
OVERSAMPLE = 1.5

#: Sides of at least `_REDUCE_FROM` times the output are averaged down to `_REDUCE_TO` times: PNGs,
#: which cannot be decoded at a fraction, and JPEGs above eight times.
_REDUCE_FROM, _REDUCE_TO = 3, 2

#: Share of a side that cropping must save: smaller savings are not worth a copy.
_MIN_SAVING = 0.25

Pixels = npt.NDArray[np.uint8]


@dataclass(slots=True)
class Crop:
    """The part of a decoded image that a model needs.

    Attributes:
        pixels: uint8 [height, width, 3] in RGB.
        rows, columns: how the whole image is resized.
        size: width and height of the whole image in pixels, upright.
    """

    pixels: Pixels
    rows: Axis
    columns: Axis
    size: tuple[int, int]


#: Decodes a body, into the given memory where possible.
CropDecoder = Callable[[bytes, Pixels | None], Crop | Failure]


def max_crop_side(side: int) -> int:
    """Return the longest side in pixels that a crop can have where the model wants `side`.

    It is below `_REDUCE_FROM` times `side`, plus the reach of the kernel, plus what was too
    little to crop.
    """
    return int((_REDUCE_FROM * (side + 5) + 2) / (1 - _MIN_SAVING)) + 1


def decode_crop(
    body: bytes | bytearray, config: PreprocessConfig, buffer: Pixels | None = None
) -> Crop | Failure:
    """Decode an image for a model. Alpha is put on white; EXIF orientation is applied.

    Args:
        buffer: memory, uint8 [bytes], that the pixels are decoded into where possible.

    Returns:
        The crop, or a failure with img2ds's reasons.
    """
    header = sniff(body)
    if isinstance(header, Failure):
        return header
    if not header.width or not header.height:
        return failure(Reason.DECODE_ERROR, "image without pixels")
    if header.width * header.height > MAX_PIXELS:
        return failure(Reason.IMAGE_BOMB, f"more than {MAX_PIXELS} pixels")
    if header.channels != 4:  # of CMYK
        header.icc = None  # models were trained on colours as stored
    orientation = orientation_of(header)
    turned = swaps_sides(orientation)
    width, height = header.width, header.height
    if turned:
        width, height = height, width
    rows, columns, enough = _plan(width, height, config)
    try:
        pixels = decode(body, header, enough[::-1] if turned else enough, MAX_PIXELS, buffer)
    except BombError as error:
        return failure(Reason.IMAGE_BOMB, error.message)
    except DecodeError as error:
        reason = Reason.TRUNCATED_IMAGE if error.truncated else Reason.DECODE_ERROR
        return failure(reason, error.message)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    if orientation != 1:
        pixels = upright(pixels, orientation)
    steps = _plan_crop(pixels.shape[0], pixels.shape[1], rows, columns, config.size)
    if steps.reduced is not None:
        pixels = resize(np.ascontiguousarray(pixels), steps.reduced, 1, "area")
    if steps.window is not None:
        pixels = pixels[steps.window]
    return Crop(np.ascontiguousarray(pixels), steps.rows, steps.columns, (width, height))


@lru_cache(maxsize=4096)
def _plan(width: int, height: int, config: PreprocessConfig) -> tuple[Axis, Axis, tuple[int, int]]:
    """Return the rules of both sides, and the least width and height to decode a JPEG to.

    Cached: the images of a dataset have few different sizes.
    """
    rows, columns = plan_axes(width, height, config)
    return rows, columns, (int(columns.resized * OVERSAMPLE), int(rows.resized * OVERSAMPLE))


class _CropPlan(NamedTuple):
    """The steps from decoded pixels to a crop, None where a step is not needed.

    `rows` and `columns` are the rules for the crop.
    """

    reduced: Geometry | None
    window: tuple[slice, slice] | None
    rows: Axis
    columns: Axis


@lru_cache(maxsize=4096)
def _plan_crop(
    height: int, width: int, rows: Axis, columns: Axis, size: tuple[int, int]
) -> _CropPlan:
    """Plan the crop of `height` by `width` decoded pixels, of which the model wants `size`."""
    reduced = None
    left = _reduced_length(height, rows), _reduced_length(width, columns)
    if left != (height, width):
        reduced = Geometry(left[::-1], left[::-1], shrinks=True)
    rows, vertical = _crop_axis(rows._replace(length=left[0]), size[0])
    columns, horizontal = _crop_axis(columns._replace(length=left[1]), size[1])
    window = (vertical, horizontal)
    whole = window == (slice(0, left[0]), slice(0, left[1]))
    return _CropPlan(reduced, None if whole else window, rows, columns)


def _reduced_length(length: int, axis: Axis) -> int:
    """Return the length of a side after averaging; each side is averaged by itself."""
    return _REDUCE_TO * axis.resized if length >= _REDUCE_FROM * axis.resized else length


def _crop_axis(axis: Axis, out: int) -> tuple[Axis, slice]:
    """Return the rows or columns that `out` output pixels depend on."""
    if axis.length > out:
        first, end = receptive_range(axis, out)
        if end - first <= (1 - _MIN_SAVING) * axis.length:
            return axis._replace(first=first), slice(first, end)
    return axis, slice(0, axis.length)
