"""Bodies to the pixels that a model's preparation needs of them, and no more.

JPEGs are decoded at a fraction of their size where enough is left, and what a central crop would
throw away is not handed on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from img2ds.image.decode import BombError, DecodeError, decode
from img2ds.image.orient import read_orientation, swaps_sides, upright
from img2ds.image.sniff import sniff
from img2ds.outcome import Failure, Reason, failure
from laion.clip.prepare import Axis, Cut, Pixels, Settings, plan_axes, reach

#: Pixels above which a picture is not opened, Pillow's limit and img2ds's default.
MAX_PIXELS = 89_478_484

#: How many times the wanted size must be left when a JPEG is decoded at a fraction: its averaging
#: is coarser than the resizing that follows, which has to have something left to do.
OVERSAMPLE = 1.5

#: Pixels in a row that are left for each wanted one, at least, when larger pictures are averaged.
_MOST = 1.5

#: No side of a cut is longer than this times the wanted size: twice `_MOST`, and what `_needed`
#: does not cut off.
LONGEST_CUT = 4.1


def cut_picture(body: bytes | bytearray, settings: Settings) -> Cut | Failure:
    """Decode a picture for a model. Alpha is put on white; EXIF orientation is applied.

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
    rows, columns = plan_axes(width, height, settings)
    enough = int(columns.resized * OVERSAMPLE), int(rows.resized * OVERSAMPLE)
    try:
        pixels = decode(body, header, enough[::-1] if turned else enough, MAX_PIXELS)
    except BombError as error:
        return failure(Reason.IMAGE_BOMB, error.message)
    except DecodeError as error:
        reason = Reason.TRUNCATED_IMAGE if error.truncated else Reason.DECODE_ERROR
        return failure(reason, error.message)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    pixels = upright(pixels, orientation)
    pixels, rows = _needed(pixels, rows, settings.size[0], 0)
    pixels, columns = _needed(pixels, columns, settings.size[1], 1)
    return Cut(np.ascontiguousarray(pixels), rows, columns, (width, height))


def _needed(pixels: Pixels, axis: Axis, out: int, way: int) -> tuple[Pixels, Axis]:
    """The rows (0) or columns (1) that the wanted ones are made of."""
    axis = axis._replace(length=pixels.shape[way])
    times = int(pixels.shape[way] // (_MOST * max(axis.resized, 1)))
    if times > 1:
        pixels, axis = _averaged(pixels, axis, times, way)
    first, end = reach(axis, out)
    # A little less to hand on is not worth another way through the resizing.
    if end - first > 0.75 * axis.length:
        return pixels, axis
    kept = pixels[first:end] if way == 0 else pixels[:, first:end]
    return kept, axis._replace(first=first)


def _averaged(pixels: Pixels, axis: Axis, times: int, way: int) -> tuple[Pixels, Axis]:
    """Groups of `times` rows or columns in one; the few that are left over at the end go."""
    count = pixels.shape[way] // times
    trimmed = pixels[: count * times] if way == 0 else pixels[:, : count * times]
    shape = list(trimmed.shape)
    shape[way : way + 1] = [count, times]
    sums = trimmed.reshape(shape).sum(axis=way + 1, dtype=np.uint32)
    mean = ((sums + times // 2) // times).astype(np.uint8)
    return mean, axis._replace(length=count)


Cutter = Callable[[bytes], Cut | Failure]
