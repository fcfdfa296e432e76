"""Input files as streams: text files, plain or compressed, and files that parquet seeks in."""

from __future__ import annotations

import io
import os
import sys
from typing import IO, Any

from img2ds.core.failure import UsageError
from img2ds.storage.compression import (
    START_BYTES,
    DamagedError,
    Decompressed,
    TruncatedError,
    compression_of,
    compression_of_name,
)
from img2ds.storage.filesystem import as_usage_error, local_path, open_remote

#: The path of standard input.
STDIN = "-"


#: Bytes of a file that are read first: enough to learn what it is.
_START_SIZE = 1 << 16


def open_raw(path: str) -> IO[bytes]:
    """Open the stored bytes of a file. Raises OSError."""
    if path == STDIN:
        return sys.stdin.buffer
    local = local_path(path)
    if local is not None:
        return open(local, "rb", buffering=0)
    return open_remote(path)


class InputStream(io.RawIOBase):
    """The bytes of a text file, decompressed if it begins like a compressed one.

    Attributes:
        stored_bytes_read: bytes read so far from the file as it is stored, for an ETA.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.stored_bytes_read = 0
        self._raw = open_raw(path)
        self._start: bytes | None = None  # what was read to learn the compression
        self._compression = ""
        self._file: Decompressed | None = None

    def read_raw(self, size: int) -> bytes:
        """Return stored bytes: at most `size`, none at the end. Raises OSError."""
        if self._start:
            data, self._start = self._start[:size], self._start[size:]
            return data
        # From a pipe, take what is there: its writer may be slow.
        read = getattr(self._raw, "read1", self._raw.read)
        data = read(size) or b""
        self.stored_bytes_read += len(data)
        return data

    def _look(self) -> None:
        """Learn the compression from the first bytes. Raises UsageError, OSError."""
        start = b""
        while len(start) < START_BYTES and (data := self.read_raw(_START_SIZE)):
            start += data
        self._start = start
        kind, promised = compression_of(start), compression_of_name(self.path)
        if kind is not None:
            self._compression = kind.name
            self._file = Decompressed(kind, _StoredBytes(self))
        elif start and promised is not None:
            raise UsageError(f"{self.path} cannot be decompressed: it is no {promised.name} file")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, none at the end.

        Raises:
            UsageError: it is not compressed as its name says, or truncated or damaged.
            OSError: it cannot be read.
        """
        if size < 0:
            return self.readall()
        if self._start is None:
            self._look()
        if self._file is None:
            return self.read_raw(size)
        try:
            return self._file.read(size)
        except TruncatedError:
            raise UsageError(f"{self.path} is a truncated {self._compression} file") from None
        except DamagedError as error:
            words = f"cannot be decompressed as {self._compression}: {error}"
            raise UsageError(f"{self.path} {words}") from None

    def close(self) -> None:
        if not self.closed and self.path != STDIN:
            self._raw.close()
        super().close()


class _StoredBytes(io.RawIOBase):
    """The stored bytes of a stream, as a file."""

    def __init__(self, stream: InputStream) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read_raw(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def stdin_start() -> bytes | None:
    """Return the first bytes of standard input, which stay; none if it is empty.

    Blocks until there are some. None where it cannot be looked at.
    """
    peek = getattr(sys.stdin.buffer, "peek", None) if sys.stdin is not None else bytes
    return None if peek is None else peek()


def open_stream(path: str) -> InputStream:
    """Open a text file, or `-`, from its beginning.

    Raises:
        UsageError: it does not exist or cannot be read.
    """
    with as_usage_error(f"read {path}"):
        return InputStream(path)


def is_text(name: str) -> bool:
    """Return whether a file's name is valid UTF-8. Others have surrogates (PEP 383)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def open_seekable(path: str) -> str | IO[bytes]:
    """Return what pyarrow reads parquet from: a local path, or a file object.

    Remote files have no cache: parquet reads several places in turn, for which fsspec's read-ahead
    would fetch the same bytes again and again.

    Raises:
        UsageError: it does not exist or cannot be read.
    """
    if path == STDIN:
        raise UsageError("parquet cannot be read from standard input: save it to a file first")
    local = local_path(path)
    if local is not None:
        if os.path.getsize(local) == 0:
            raise UsageError(f"{path} is empty")
        # Arrow takes no names that are not valid UTF-8.
        return local if is_text(local) else open(local, "rb")
    with as_usage_error(f"read {path}"):
        return open_remote(path, cache_type="none")
