"""EXIF orientation: read from the TIFF block, applied to pixels (EXIF 2.32 4.6.4)."""

from __future__ import annotations

import struct
from typing import Any

import numpy.typing as npt

#: Eight-bit samples; OpenCV's and NumPy's stubs do not agree on how to say so.
Pixels = npt.NDArray[Any]

_ORIENTATION = 0x0112
_SHORT = 3


def read_orientation(exif: bytes | None) -> int:
    """1 to 8 from the first directory of a TIFF block; 1, upright, when it does not say."""
    if exif is None or exif[:2] not in (b"II", b"MM"):
        return 1
    order = "<" if exif[:2] == b"II" else ">"
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, directory)
        for place in range(count):
            at = directory + 2 + 12 * place
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, at)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def swaps_sides(orientation: int) -> bool:
    """Whether upright width is stored height."""
    return orientation >= 5


def mirrors(orientation: int) -> tuple[bool, bool]:
    """Whether columns, and whether rows, are to be reversed after the sides have been swapped."""
    return orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels [height, width, ...] as stored, turned the way they are to be seen; may be a view."""
    if swaps_sides(orientation):
        pixels = pixels.swapaxes(0, 1)
    columns, rows = mirrors(orientation)
    if rows:
        pixels = pixels[::-1]
    if columns:
        pixels = pixels[:, ::-1]
    return pixels
