"""A file's bytes from first to last, hashed on the way."""

from __future__ import annotations

import hashlib

from img2ds.storage import PatientFile

_READ = 1 << 20


class HashedStream:
    """Gives exact numbers of bytes; knows size and sha256 of what was read of the file."""

    def __init__(self, file: PatientFile) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._buffer = b""
        self._at = 0
        self.size = 0

    def sha256(self) -> str:
        return self._hash.hexdigest()

    def take(self, size: int) -> bytes:
        """The next `size` bytes, fewer where the file ends. Raises OSError."""
        if len(self._buffer) - self._at < size:
            pieces = [self._buffer[self._at :]]
            missing = size - len(pieces[0])
            while missing > 0 and self._more():
                piece = self._buffer[:missing]
                self._at = len(piece)
                pieces.append(piece)
                missing -= len(piece)
            if missing > 0:
                self._buffer, self._at = b"", 0
            return b"".join(pieces)
        self._at += size
        return self._buffer[self._at - size : self._at]

    def skip_to_end(self) -> None:
        """Read the rest, for its size and hash. Raises OSError."""
        while self._more():
            pass

    def _more(self) -> bool:
        """The buffer, which is used up, anew."""
        self._buffer, self._at = self._file.read(_READ), 0
        self._hash.update(self._buffer)
        self.size += len(self._buffer)
        return bool(self._buffer)
