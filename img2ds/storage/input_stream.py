"""Input files as streams: text files, plain or gzipped, and files that parquet seeks in."""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from typing import IO, Any, cast

from img2ds.core.failure import UsageError
from img2ds.storage.filesystem import as_usage_error, local_path, resolve

#: The path of standard input.
STDIN = "-"

#: Bytes read from a file at once.
_READ_SIZE = 1 << 20


def open_raw(path: str) -> IO[bytes]:
    """Open the stored bytes of a file. Raises OSError."""
    if path == STDIN:
        return sys.stdin.buffer
    local = local_path(path)
    if local is not None:
        return open(local, "rb", buffering=0)
    fs, remote = resolve(path)
    return cast(IO[bytes], fs.open(remote, "rb"))


class InputStream(io.RawIOBase):
    """The bytes of a text file, decompressed if its name ends in `.gz`.

    Attributes:
        stored_bytes_read: bytes read so far from the file as it is stored, for an ETA.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.stored_bytes_read = 0
        self._raw = open_raw(path)
        self._file: IO[bytes] | None = None
        if path.endswith(".gz"):
            packed = gzip.GzipFile(fileobj=io.BufferedReader(_StoredBytes(self), _READ_SIZE))
            self._file = cast(IO[bytes], packed)

    def read_raw(self, size: int) -> bytes:
        """Return stored bytes: at most `size`, none at the end. Raises OSError."""
        # From a pipe, take what is there: its writer may be slow.
        read = getattr(self._raw, "read1", self._raw.read)
        data = read(size) or b""
        self.stored_bytes_read += len(data)
        return data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, none at the end.

        Raises:
            UsageError: the file is not a gzip file, or it is cut off or damaged.
            OSError: it cannot be read.
        """
        if size < 0:
            return self.readall()
        if self._file is None:
            return self.read_raw(size)
        try:
            return self._file.read(size)
        except EOFError:
            raise UsageError(f"{self.path} is a truncated gzip file") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise UsageError(f"{self.path} cannot be decompressed as gzip: {error}") from None

    def close(self) -> None:
        if not self.closed and self.path != STDIN:
            self._raw.close()
        super().close()


class _StoredBytes(io.RawIOBase):
    """The stored bytes of a stream, as a file for gzip."""

    def __init__(self, stream: InputStream) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read_raw(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def stdin_is_empty() -> bool:
    """Return whether standard input is empty. Blocks until its first byte, which stays."""
    peek = getattr(sys.stdin.buffer, "peek", None) if sys.stdin is not None else bytes
    return peek is not None and not peek()


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
        fs, remote = resolve(path)
        return cast(IO[bytes], fs.open(remote, "rb", cache_type="none"))
