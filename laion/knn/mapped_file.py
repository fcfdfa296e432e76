"""Files mapped into memory that take no descriptor: an index of any number of parts opens.

Python's `mmap`, and what numpy and Arrow map, keep a descriptor for each file as long as it is
mapped. The system does not need it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

_FAILED = ctypes.c_void_p(-1).value
#: Advice of madvise: these pages are needed soon; no others will be. The same on Linux and macOS.
_RANDOM, _WILL_NEED = 1, 3


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    ]  # fmt: skip
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc


class MappedFile:
    """The bytes of a file, for reading. Arrays made of it keep it mapped.

    Raises:
        OSError: the file cannot be opened or mapped.
    """

    def __init__(self, path: str) -> None:
        self._libc = _libc()
        self._address, self.size = 0, 0
        descriptor = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            if size:  # an empty file cannot be mapped
                address = self._libc.mmap(
                    None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0
                )
                if address == _FAILED:
                    error = ctypes.get_errno()
                    raise OSError(error, os.strerror(error), path)
                self._address, self.size = address, size
        finally:
            os.close(descriptor)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        data, shape = (self._address, True), (self.size,)
        return {"data": data, "shape": shape, "typestr": "|u1", "version": 3}

    def __del__(self) -> None:
        if getattr(self, "size", 0):
            self._libc.munmap(self._address, self.size)

    def bytes(self) -> npt.NDArray[np.uint8]:
        """Return all bytes, which are not read before they are used."""
        return np.asarray(self) if self.size else np.empty(0, np.uint8)

    def read_apart(self) -> None:
        """Have the system read what is asked for, and nothing after it."""
        if self.size:
            self._libc.madvise(self._address, self.size, _RANDOM)

    def fetch(self, starts: npt.NDArray[np.int64], length: int) -> None:
        """Begin to read `length` bytes at each of `starts`, all at the same time."""
        page = mmap.PAGESIZE
        for start in starts.tolist():
            first = start - start % page
            self._libc.madvise(self._address + first, start + length - first, _WILL_NEED)
