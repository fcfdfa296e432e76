"""Bodies to the pixels that a model's preparation needs of them, and no more.

JPEGs are decoded at a fraction of their size where enough is left, and what a central crop would
throw away is not handed on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.decode import BombError, DecodeError, decode
from img2ds.image.geometry import Geometry
from img2ds.image.orient import read_orientation, swaps_sides, upright
from img2ds.image.resize import resize
from img2ds.image.sniff import sniff
from laion.clip.prepare import MAX_PIXELS, Axis, Cut, Pixels, Settings, plan_axes, reach

#: How many times the wanted size must be left when a JPEG is decoded at a fraction: its averaging
#: is coarser than the resizing that follows, which has to have something left to do.
OVERSAMPLE = 1.5

#: Pixels for each wanted one from which pictures are averaged down, and how many are left then:
#: PNGs, which cannot be decoded at a fraction, and JPEGs above eight times.
_MOST, _LEFT = 3, 2

#: What is cut off a picture has to be worth it: a share of its side.
_WORTH = 0.25

#: Decodes a body, its pixels into the memory given where they can be put there.
Cutter = Callable[[bytes, Pixels | None], Cut | Failure]


def longest_cut(side: int) -> int:
    """No side of a cut is longer, in pixels, where the model wants `side`: `_MOST` times that and
    the reach of the filter, and what was not worth to be cut off.
    """
    return int((_MOST * (side + 5) + 2) / (1 - _WORTH)) + 1


def cut_picture(
    body: bytes | bytearray, settings: Settings, buffer: Pixels | None = None
) -> Cut | Failure:
    """Decode a picture for a model. Alpha is put on white; EXIF orientation is applied.

    Args:
        buffer: memory, uint8 [bytes], that the pixels may be put into; those of most are.

    Returns:
        What is needed of it, or a failure with img2ds's reasons.
    """
    header = sniff(body)
    if isinstance(header, Failure):
        return header
    if not header.width or not header.height:
        return failure(Reason.DECODE_ERROR, "image without pixels")
    if header.width * header.height > MAX_PIXELS:
        return failure(Reason.IMAGE_BOMB, f"more than {MAX_PIXELS} pixels")
    orientation = read_orientation(header.exif)
    turned = swaps_sides(orientation)
    width, height = header.width, header.height
    if turned:
        width, height = height, width
    rows, columns, enough = _plan(width, height, settings)
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
    rest = _rest(pixels.shape[0], pixels.shape[1], rows, columns, settings.size)
    if rest.reduced is not None:
        pixels = resize(np.ascontiguousarray(pixels), rest.reduced, 1, "area")
    if rest.window is not None:
        pixels = pixels[rest.window]
    return Cut(np.ascontiguousarray(pixels), rest.rows, rest.columns, (width, height))


@lru_cache(maxsize=4096)
def _plan(width: int, height: int, settings: Settings) -> tuple[Axis, Axis, tuple[int, int]]:
    """The rules of both sides, and the width and height that a JPEG is decoded to at least.

    Kept: the pictures of a data set are of few sizes.
    """
    rows, columns = plan_axes(width, height, settings)
    return rows, columns, (int(columns.resized * OVERSAMPLE), int(rows.resized * OVERSAMPLE))


class _Rest(NamedTuple):
    """What becomes of decoded pixels: averaged down, then cut to a window, where not None.

    `rows` and `columns` are the rules for what is left.
    """

    reduced: Geometry | None
    window: tuple[slice, slice] | None
    rows: Axis
    columns: Axis


@lru_cache(maxsize=4096)
def _rest(height: int, width: int, rows: Axis, columns: Axis, size: tuple[int, int]) -> _Rest:
    """For `height` rows and `width` columns that were decoded, of which `size` is wanted."""
    reduced = None
    there = height, width
    left = _left(height, rows), _left(width, columns)
    if left != there:
        reduced = Geometry(left[::-1], left[::-1], shrinks=True)
    rows, vertical = _needed(rows._replace(length=left[0]), size[0])
    columns, horizontal = _needed(columns._replace(length=left[1]), size[1])
    window = (vertical, horizontal)
    whole = window == (slice(0, left[0]), slice(0, left[1]))
    return _Rest(reduced, None if whole else window, rows, columns)


def _left(there: int, axis: Axis) -> int:
    """How many of a side's pixels are left; each side is averaged down by itself."""
    return _LEFT * axis.resized if there >= _MOST * axis.resized else there


def _needed(axis: Axis, out: int) -> tuple[Axis, slice]:
    """The rows or columns that the wanted ones are made of."""
    if axis.length > out:
        first, end = reach(axis, out)
        if end - first <= (1 - _WORTH) * axis.length:
            return axis._replace(first=first), slice(first, end)
    return axis, slice(0, axis.length)
