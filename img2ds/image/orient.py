"""EXIF orientation: read from the TIFF block, applied to pixels (EXIF 2.32, 4.6.4)."""

from __future__ import annotations

import struct
from typing import Any

import numpy.typing as npt

from img2ds.image.header import Header

#: Eight-bit samples; the stubs of OpenCV and NumPy do not agree on their type.
Pixels = npt.NDArray[Any]

_ORIENTATION = 0x0112
_SHORT = 3


def read_orientation(exif: bytes | bytearray | None) -> int:
    """Return the orientation, 1 to 8, from the first directory of a TIFF block.

    Returns:
        1, upright, if there is no valid one.
    """
    if exif is None or exif[:2] not in (b"II", b"MM"):
        return 1
    order = "<" if exif[:2] == b"II" else ">"
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(count):
            at = directory + 2 + 12 * entry
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, at)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def orientation_of(header: Header) -> int:
    """Return the orientation, 1 to 8, that an image is stored in."""
    return header.orientation or read_orientation(header.exif)


def swaps_sides(orientation: int) -> bool:
    """Return whether the width of the upright image is the stored height."""
    return orientation >= 5


def flips(orientation: int) -> tuple[bool, bool]:
    """Return whether columns, and whether rows, are reversed once the sides are swapped."""
    return orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn pixels [height, width, ...] as stored upright; may return a view."""
    if swaps_sides(orientation):
        pixels = pixels.swapaxes(0, 1)
    flip_columns, flip_rows = flips(orientation)
    if flip_rows:
        pixels = pixels[::-1]
    if flip_columns:
        pixels = pixels[:, ::-1]
    return pixels
