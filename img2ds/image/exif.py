"""EXIF data as a JSON string with exifread's names: img2dataset's `exif` column."""

from __future__ import annotations

import io
import logging
import struct

import exifread
import orjson
from exifread.core.exceptions import ExifError

#: What there is to say about a picture without EXIF data.
NO_EXIF = "{}"

#: Bytes read after which a block is given up, and what each read counts for at least. Cameras'
#: need some ten thousand; 64 kB can be made to take seconds, or to become 80 MB of text.
MAX_READ, LEAST_READ = 500_000, 25

# It logs a line for each oddity of each picture.
logging.getLogger("exifread").setLevel(logging.CRITICAL)


class _TooMuchError(Exception):
    """A block that was made to keep its reader busy."""


class _Bounded(io.BytesIO):
    """Ends the reading of such blocks."""

    def __init__(self, block: bytes) -> None:
        super().__init__(block)
        self._left = MAX_READ

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._left -= max(len(data), LEAST_READ)
        if self._left < 0:
            raise _TooMuchError
        return data


#: exifread reads what cameras and editors wrote without bounds checks of its own.
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


def exif_json(tiff: bytes | None) -> str:
    """The tags of a TIFF block, maker notes and thumbnails aside; `{}` when it is malformed."""
    if tiff is None:
        return NO_EXIF
    try:
        tags = exifread.process_file(_Bounded(tiff), details=False)
        return orjson.dumps(
            {name: str(value).strip() for name, value in tags.items() if value is not None}
        ).decode()
    except _MALFORMED:
        return NO_EXIF
