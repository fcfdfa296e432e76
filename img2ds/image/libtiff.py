"""libtiff, called to read a large strip row by row; Pillow would have it decoded at once.

It is the library that Pillow brings along, called by ctypes. Where it cannot be found, Pillow
decodes the strip as a whole.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from img2ds.image.decode_error import BROKEN, DecodeError
from img2ds.image.orient import Pixels

#: `TIFFTAG_JPEGCOLORMODE`, which is none of a file, and `JPEGCOLORMODE_RGB`.
_COLOUR_MODE, _RGB = 65538, 1

_Pointer, _Size, _Offset = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_uint64
_Read = ctypes.CFUNCTYPE(_Size, _Pointer, _Pointer, _Size)
_Seek = ctypes.CFUNCTYPE(_Offset, _Pointer, _Offset, ctypes.c_int)
_Close = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer)
_Length = ctypes.CFUNCTYPE(_Offset, _Pointer)
_Map = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.POINTER(_Pointer), ctypes.POINTER(_Offset))
_Unmap = ctypes.CFUNCTYPE(None, _Pointer, _Pointer, _Offset)


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """Return the library that Pillow's extension is linked to."""
    try:
        from PIL import _imaging

        # Symbols of a library's dependencies are found by its own handle.
        library = ctypes.CDLL(_imaging.__file__)
        for name, arguments, result in (
            ("TIFFClientOpen", (ctypes.c_char_p, ctypes.c_char_p, *[_Pointer] * 8), _Pointer),
            ("TIFFSetField", (_Pointer, ctypes.c_uint32), ctypes.c_int),
            ("TIFFScanlineSize64", (_Pointer,), _Offset),
            ("TIFFReadScanline", (_Pointer, _Pointer, ctypes.c_uint32, ctypes.c_uint16),
             ctypes.c_int),
            ("TIFFClose", (_Pointer,), None),
            ("TIFFSetErrorHandler", (_Pointer,), _Pointer),
            ("TIFFSetWarningHandler", (_Pointer,), _Pointer),
        ):  # fmt: skip
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, result
    except (ImportError, OSError, AttributeError):
        return None
    # Errors go to the image's row, not to stderr as well.
    library.TIFFSetErrorHandler(None)
    library.TIFFSetWarningHandler(None)
    return library


def is_there() -> bool:
    """Return whether a `StripReader` can be made."""
    return _library() is not None


class StripReader:
    """Reads the rows of a TIFF in a single strip, one after the other.

    Args:
        file: the whole TIFF. It is not copied.
        row_bytes: of a decoded row.
        converts: whether a JPEG in YCbCr becomes RGB.

    Raises:
        DecodeError: the file is broken, or its rows are of another length.
    """

    def __init__(self, file: bytes, row_bytes: int, *, converts: bool = False) -> None:
        library = _library()
        assert library is not None
        self._library, self._row = library, 0
        self._handle: int | None = None
        self._data = np.frombuffer(file, np.uint8)
        self._calls = self._callbacks()
        self._handle = library.TIFFClientOpen(b"", b"r", None, *self._calls)
        if not self._handle:
            raise DecodeError(BROKEN)
        if converts:
            library.TIFFSetField(self._handle, _COLOUR_MODE, ctypes.c_int(_RGB))
        if library.TIFFScanlineSize64(self._handle) != row_bytes:
            self.close()
            raise DecodeError(BROKEN)

    def _callbacks(self) -> list[Any]:
        """Return what libtiff reads the file by. It has to live as long as the handle."""
        data, at = self._data, 0

        def read(_: int, target: int, size: int) -> int:
            nonlocal at
            count = max(0, min(size, data.size - at))
            ctypes.memmove(target, data.ctypes.data + at, count)
            at += count
            return count

        def seek(_: int, offset: int, origin: int) -> int:
            nonlocal at
            at = offset + (0, at, data.size)[origin]
            return at

        def map_file(_: int, start: Any, size: Any) -> int:
            start[0], size[0] = data.ctypes.data, data.size
            return 1

        calls: list[Callable[..., Any]] = [
            _Read(read), _Read(lambda *_: 0), _Seek(seek), _Close(lambda _: 0),
            _Length(lambda _: data.size), _Map(map_file), _Unmap(lambda *_: None),
        ]  # fmt: skip
        return calls

    def read(self, rows: Pixels) -> None:
        """Fill `rows`, uint8 [count, row bytes], contiguous, with the next rows.

        Raises:
            DecodeError: the data are broken, or end.
        """
        read, handle = self._library.TIFFReadScanline, self._handle
        start, step = rows.ctypes.data, rows.shape[1]
        for number in range(rows.shape[0]):
            if read(handle, start + number * step, self._row + number, 0) < 0:
                raise DecodeError(BROKEN)
        self._row += rows.shape[0]

    def close(self) -> None:
        """Free the memory of the decoder."""
        if self._handle:
            self._library.TIFFClose(self._handle)
            self._handle = None
