"""The pixels of an image that is decoded strip by strip, at a fraction of its size.

A large image is reduced while it is decoded, as JPEGs are by their DCT, so that its pixels never
are in memory at the full size.
"""

from __future__ import annotations

import cv2
import numpy as np

from img2ds.image.header import Header
from img2ds.image.jpeg import DCT_SCALES, reduction
from img2ds.image.orient import Pixels

#: Pixels of an image from which on it is reduced while it is decoded.
LARGE = 1 << 24
#: Times the wanted size that a reduced image has at least: it is resized once more.
_SPARE = 2


def scale_of(header: Header, min_size: tuple[int, int]) -> int:
    """Return the divisor of the size at which an image is decoded: 1, 2, 4 or 8.

    Args:
        min_size: the least width and height wanted; (0, 0) asks for the full size.
    """
    if header.format == "jpeg" and not header.lossless:
        return reduction(header, min_size)
    if min_size != (0, 0) and header.width * header.height > LARGE:
        sides = (header.width, header.height)
        for scale in DCT_SCALES:
            # A side of a few pixels is not resized.
            if all(
                -(-side // scale) >= min(_SPARE * least, side)
                for side, least in zip(sides, min_size, strict=True)
            ):
                return scale
    return 1


class Canvas:
    """Takes strips of an image from the top, and averages their pixels in squares.

    Attributes:
        pixels: uint8 [height, width, ...], sides divided by `scale` and rounded up.

    Args:
        shape: height and width of the image, and channels if there are several.
        scale: the divisor of the size. Squares at the right and the lower edge may be cut.
    """

    def __init__(self, shape: tuple[int, ...], scale: int) -> None:
        height, width = (-(-side // scale) for side in shape[:2])
        self.pixels: Pixels = np.empty((height, width, *shape[2:]), np.uint8)
        self._scale = scale

    def put(self, rows: slice, strip: Pixels) -> None:
        """Take the pixels of some rows. The first row is a multiple of the scale."""
        scale = self._scale
        target = self.pixels[rows.start // scale : -(-rows.stop // scale)]
        if scale == 1:
            target[:] = strip
            return
        height, width = (side - side % scale for side in strip.shape[:2])
        for down in (slice(0, height), slice(height, None)):
            for across in (slice(0, width), slice(width, None)):
                part = strip[down, across]
                if part.size:
                    shrunk = target[
                        down.start // scale : down.stop and down.stop // scale,
                        across.start // scale : across.stop and across.stop // scale,
                    ]
                    size = (shrunk.shape[1], shrunk.shape[0])
                    averages = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
                    shrunk[:] = averages.reshape(shrunk.shape)  # OpenCV drops a single channel


def shrink(pixels: Pixels, scale: int) -> Pixels:
    """Reduce pixels [height, width, ...] that were decoded at the full size."""
    if scale == 1:
        return pixels
    canvas = Canvas(pixels.shape, scale)
    canvas.put(slice(0, pixels.shape[0]), pixels)
    return canvas.pixels
