"""The PDQ hash of an encoded image, at one size and without the plain borders that it may have.

Borders are added by pages, by players and by `--resize_mode border`; they would change the hash.
Small images have one that depends on their size: PDQ hardly blurs them before it takes samples.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from img2ds.config.image import MAX_DECODE_MEMORY, MAX_DECODED_PIXELS
from img2ds.core.failure import Failure, Reason, failure
from img2ds.core.pdq import PdqHash
from img2ds.image.decode import decode
from img2ds.image.decode_error import BombError, DecodeError
from img2ds.image.orient import orientation_of, upright
from img2ds.image.pdq import LEAST_SIDE, Grey, grey_levels, hash_grey, resized
from img2ds.image.sniff import sniff

#: Larger images are decoded at a fraction: a hash is made of 64 x 64 samples.
SIDE = 256
#: Grey levels that a border may differ from its outermost line: JPEG ripples near edges.
TOLERANCE = 16.0
#: Share of a side that is left at least: an image of one colour is no border.
LEAST_SHARE = 0.4


def image_hash(body: bytes) -> PdqHash | Failure:
    """Return the hash of an image, or why it cannot be decoded."""
    header = sniff(body)
    if isinstance(header, Failure):
        return header
    if header.width * header.height > MAX_DECODED_PIXELS:
        return failure(Reason.IMAGE_BOMB, f"more than {MAX_DECODED_PIXELS} pixels")
    if not header.width or not header.height:
        return failure(Reason.DECODE_ERROR, "image without pixels")
    try:
        pixels = decode(body, header, (SIDE, SIDE), MAX_DECODED_PIXELS, memory=MAX_DECODE_MEMORY)
    except BombError as error:
        return failure(Reason.IMAGE_BOMB, error.message)
    except DecodeError as error:
        reason = Reason.TRUNCATED_IMAGE if error.truncated else Reason.DECODE_ERROR
        return failure(reason, error.message)
    orientation = orientation_of(header)
    grey = trim(grey_levels(upright(pixels, orientation)))
    found = hash_grey(resized(grey, SIDE)) if min(grey.shape) >= LEAST_SIDE else None
    return found or failure(Reason.IMAGE_TOO_SMALL, "too small for a hash")


def trim(grey: Grey) -> Grey:
    """Return an image without lines of one grey level along its sides."""
    for _ in range(2):  # first the rows, then the columns of what is left
        grey = _trim_rows(grey).T
    return np.ascontiguousarray(grey)


def _trim_rows(grey: Grey) -> Grey:
    first, last = _plain_lines(grey), _plain_lines(grey[::-1])
    left = len(grey) - first - last
    return grey[first : len(grey) - last] if left >= LEAST_SHARE * len(grey) else grey


def _plain_lines(grey: Grey) -> int:
    """Return how many rows from the first one on are of its grey level."""
    level = np.float32(np.median(grey[0]))
    if np.abs(grey[0] - level).max() > TOLERANCE:  # most images
        return 0
    plain: npt.NDArray[np.bool_] = (np.abs(grey - level) <= TOLERANCE).all(axis=1)
    return len(plain) if plain.all() else int(plain.argmin())
