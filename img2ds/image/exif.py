"""EXIF data as a JSON string with exifread's names: img2dataset's `exif` column."""

from __future__ import annotations

import io
import logging
import struct

import exifread
import orjson
from exifread.core.exceptions import ExifError

#: For images without EXIF data.
NO_EXIF = "{}"

#: Bytes that may be read of a block, and the least that one read counts for. Blocks of cameras
#: need some ten thousand; 64 kB can be made to take seconds, or to give 80 MB of text.
MAX_READ, LEAST_READ = 500_000, 25

# exifread logs a line for each anomaly.
logging.getLogger("exifread").setLevel(logging.CRITICAL)


class _TooMuchError(Exception):
    """More was read of a block than any camera's needs."""


class _Bounded(io.BytesIO):
    """A TIFF block of which a limited number of bytes can be read."""

    def __init__(self, block: bytes | bytearray) -> None:
        super().__init__(block)
        self._left = MAX_READ

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._left -= max(len(data), LEAST_READ)
        if self._left < 0:
            raise _TooMuchError
        return data


#: What exifread raises for malformed blocks: it does not check bounds itself.
_MALFORMED = (
    ExifError,
    _TooMuchError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


def exif_json(tiff: bytes | bytearray | None) -> str:
    """Return the tags of a TIFF block, without maker notes and thumbnails, as a JSON object.

    Returns:
        `{}` if the block is malformed or missing.
    """
    if tiff is None:
        return NO_EXIF
    try:
        tags = exifread.process_file(_Bounded(tiff), details=False)
        return orjson.dumps(
            {name: str(value).strip() for name, value in tags.items() if value is not None}
        ).decode()
    except _MALFORMED:
        return NO_EXIF
