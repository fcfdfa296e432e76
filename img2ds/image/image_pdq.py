"""The PDQ hash of an encoded image, as lists of known images hold it: of all of it, upright."""

from __future__ import annotations

import cv2
import numpy as np

from img2ds.core.pdq import GOOD
from img2ds.image.decode import decode
from img2ds.image.header import Header
from img2ds.image.jpeg import decode_planes, reduction
from img2ds.image.orient import Pixels, swaps_sides, upright
from img2ds.image.pdq import hash_reduced

#: Sides down to which larger images are decoded at a fraction: a hash is made of 64 x 64 samples.
SIDE = 160


def can_hash(pixels: Pixels, header: Header) -> bool:
    """Return whether decoded pixels are large enough for the hash of their image."""
    height, width = pixels.shape[:2]
    return bool(height >= min(SIDE, header.height) and width >= min(SIDE, header.width))


def pixels_pdq(pixels: Pixels, size: tuple[int, int], orientation: int = 1) -> bytes | None:
    """Return the hash of an image, given its pixels as stored, or its luma, of any size.

    None if it is too small or has too little detail for a hash.

    Args:
        size: width and height of the image as stored, of which the pixels may be fewer.
    """
    grey = pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    found = hash_reduced(
        upright(grey, orientation), size[::-1] if swaps_sides(orientation) else size
    )
    return None if found is None or found.quality < GOOD else found.bytes


def decode_for_pdq(body: bytes | bytearray, header: Header, max_pixels: int, memory: int) -> Pixels:
    """Decode an image for its hash: luma [height, width] or RGB [height, width, 3], as stored.

    Raises:
        BombError, DecodeError: see `decode`.
    """
    min_size = SIDE, SIDE
    if header.format == "jpeg":
        # A hash is of luma, which a JPEG has.
        planes = decode_planes(body, header, reduction(header, min_size), coarse=True)
        if planes is not None:
            return planes.y
    return decode(body, header, min_size, max_pixels, memory=memory)
