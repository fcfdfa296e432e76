"""Bodies to the pixels that a model's preparation needs of them, and no more.

JPEGs are decoded at a fraction of their size where enough is left, and what a central crop would
throw away is not handed on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from img2ds.image.decode import BombError, DecodeError, decode
from img2ds.image.geometry import Geometry
from img2ds.image.orient import read_orientation, swaps_sides, upright
from img2ds.image.resize import resize
from img2ds.image.sniff import sniff
from img2ds.outcome import Failure, Reason, failure
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
    pixels = _reduced(pixels, rows, columns)
    pixels, rows = _needed(pixels, rows, settings.size[0], 0)
    pixels, columns = _needed(pixels, columns, settings.size[1], 1)
    return Cut(np.ascontiguousarray(pixels), rows, columns, (width, height))


@lru_cache(maxsize=4096)
def _plan(width: int, height: int, settings: Settings) -> tuple[Axis, Axis, tuple[int, int]]:
    """The rules of both sides, and the width and height that a JPEG is decoded to at least.

    Kept: the pictures of a data set are of few sizes.
    """
    rows, columns = plan_axes(width, height, settings)
    return rows, columns, (int(columns.resized * OVERSAMPLE), int(rows.resized * OVERSAMPLE))


def _reduced(pixels: Pixels, rows: Axis, columns: Axis) -> Pixels:
    """Averaged down, each side by itself, where it is far larger than it has to be."""
    height, width = (
        _LEFT * axis.resized if there >= _MOST * axis.resized else there
        for axis, there in zip((rows, columns), pixels.shape[:2], strict=True)
    )
    if (height, width) == pixels.shape[:2]:
        return pixels
    geometry = Geometry((width, height), (width, height), shrinks=True)
    return resize(np.ascontiguousarray(pixels), geometry, 1, "area")


def _needed(pixels: Pixels, axis: Axis, out: int, way: int) -> tuple[Pixels, Axis]:
    """The rows (0) or columns (1) that the wanted ones are made of."""
    axis = axis._replace(length=pixels.shape[way])
    if axis.length <= out:
        return pixels, axis
    first, end = reach(axis, out)
    if end - first > (1 - _WORTH) * axis.length:
        return pixels, axis
    kept = pixels[first:end] if way == 0 else pixels[:, first:end]
    return kept, axis._replace(first=first)
