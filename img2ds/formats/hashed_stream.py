"""A stored file's bytes from first to last, hashed on the way."""

from __future__ import annotations

import hashlib
import io
from typing import cast

from img2ds.storage import RetryingFile

#: Bytes read at once.
BUFFER = 1 << 20


class HashedStream(io.BufferedReader):
    """Reads a file from its start; `digest` is of all that was read of it.

    `read(n)` returns exactly `n` bytes, fewer only at the end, and raises OSError.
    """

    def __init__(self, file: RetryingFile) -> None:
        self._hashing = _Hashing(file)
        super().__init__(cast(io.RawIOBase, self._hashing), BUFFER)

    def digest(self) -> tuple[int, str]:
        """Return the size in bytes and the sha256 in hex of the file, which was read to its end."""
        return self._hashing.size, self._hashing.hash.hexdigest()


class _Hashing(io.RawIOBase):
    def __init__(self, file: RetryingFile) -> None:
        self._file = file
        self.hash = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        size = len(data)
        buffer[:size] = data
        self.hash.update(data)
        self.size += size
        return size
