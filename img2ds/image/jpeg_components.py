"""Large JPEGs of several scans in RGB or in four inks, at a fraction of their size.

libjpeg has the coefficients of all components at the full size, up to 8 bytes a pixel. The
extension `_jpeg` has those of one component, or at an eighth of the size next to none.
"""

from __future__ import annotations

import cv2
import numpy as np

from img2ds.image.canvas import LARGE
from img2ds.image.header import Header
from img2ds.image.jpeg import Components, decode_components, has_components
from img2ds.image.orient import Pixels
from img2ds.image.strips import strips

_RGB, _INKS, _MOST = 3, 4, 255


def can_decode(header: Header, scale: int) -> bool:
    """Return whether `decode_colours` is to be called."""
    large = header.width * header.height > LARGE
    return (
        has_components() and large and header.passes and scale > 1
        and header.channels in (_RGB, _INKS)
    )  # fmt: skip


def decode_colours(body: bytes | bytearray, header: Header, scale: int) -> Pixels | None:
    """Decode a JPEG for which `can_decode` is true.

    Returns:
        RGB, or CMYK as it is stored, [height, width, 3 or 4]; larger if the end could not be found
        at this scale. None if the extension declines.

    Raises:
        DecodeError: the body is cut short.
    """
    found = decode_components(body, header, scale)
    if found is None:
        return None
    height, width = found.planes[0].shape
    planes = [_at_size(plane, found, (width, height)) for plane in found.planes]
    result = np.empty((height, width, len(planes)), np.uint8)
    for rows in strips(height, width):
        parts = [plane[rows] for plane in planes]
        if found.ycc:
            y, cb, cr, *black = parts
            rgb = cv2.cvtColor(cv2.merge((y, cr, cb)), cv2.COLOR_YCrCb2RGB)
            if black:  # inks are what is missing of white
                rgb = cv2.bitwise_not(rgb)
            parts = [*cv2.split(rgb), *black]
        result[rows] = cv2.merge(parts)
    return result


def _at_size(plane: Pixels, found: Components, size: tuple[int, int]) -> Pixels:
    """Interpolate chroma as libjpeg does, by three quarters of the nearer sample."""
    if plane.shape == (size[1], size[0]):
        return plane
    whole = plane.shape[1] * found.pitch[0], plane.shape[0] * found.pitch[1]
    return cv2.resize(plane, whole, interpolation=cv2.INTER_LINEAR)[: size[1], : size[0]]
