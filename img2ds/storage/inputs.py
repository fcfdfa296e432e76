"""Finds the files of an input and opens them, plain or gzipped, here or elsewhere."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, cast

from img2ds.core.failure import UsageError
from img2ds.core.naming import STATS_SUFFIX
from img2ds.storage.filesystem import local_path, resolve, said_plainly

STDIN = "-"

#: Bytes at each end of a file that its digest covers.
DIGEST_BYTES = 64 * 1024

#: Bytes a stream asks its file for at once.
_READ_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of an input. `path` opens it in any process; `size` is in bytes, None if unknown."""

    path: str
    size: int | None

    @property
    def name(self) -> str:
        """The last part of the path; `-` for standard input."""
        return self.path.rstrip("/").rpartition("/")[2]

    def digest(self) -> str:
        """sha256 in hex of the first and last 64 KiB, as stored. Raises OSError."""
        digest = hashlib.sha256()
        with _open_raw(self.path) as file:
            digest.update(file.read(DIGEST_BYTES))
            if self.size is not None and self.size > DIGEST_BYTES and file.seekable():
                file.seek(max(DIGEST_BYTES, self.size - DIGEST_BYTES))
                digest.update(file.read(DIGEST_BYTES))
        return digest.hexdigest()


def find_inputs(url_list: str, extensions: Sequence[str]) -> list[InputFile]:
    """The files that `url_list` stands for, sorted by path.

    A folder stands for its files (not those of folders inside it) that end in one of
    `extensions`, hidden and underscored ones left out, as Spark does with its marks, and markers of
    shards.

    Args:
        url_list: a file, a folder, a glob, an fsspec URL of any of these, or `-`.
        extensions: endings with their dot, such as `.csv`.

    Raises:
        UsageError: there is nothing there, or it cannot be looked at.
    """
    if url_list == STDIN:
        return [InputFile(STDIN, None)]
    fs, path = resolve(local_path(url_list) or url_list)
    with said_plainly(f"read {url_list}"):
        if fs.isfile(path):
            # Typed as it is: the parts of a chained URL cannot be put together again.
            return [InputFile(local_path(url_list) or url_list, fs.size(path))]
        if "::" in url_list:
            raise UsageError(f"there is no file {url_list}: a chained URL must name one file")
        if fs.isdir(path):
            entries = [
                entry
                for entry in fs.ls(path, detail=True)
                if _is_list(entry["name"], extensions) and _is_file(fs, entry)
            ]
            if not entries:
                raise UsageError(
                    f"the folder {url_list} has no file that ends in {', '.join(extensions)}"
                )
        elif any(marker in path for marker in "*?["):
            found = fs.glob(path, detail=True)
            entries = [entry for entry in found.values() if _is_file(fs, entry)]
            if not entries:
                raise UsageError(f"no file matches {url_list}")
        else:
            raise UsageError(f"there is no file or folder {url_list}")
    files = [InputFile(_full_path(fs, entry["name"]), entry.get("size")) for entry in entries]
    return sorted(files, key=lambda file: file.path)


def _is_list(path: str, extensions: Sequence[str]) -> bool:
    name = path.rpartition("/")[2]
    return (
        not name.startswith((".", "_"))
        and not name.endswith(STATS_SUFFIX)
        and name.endswith(tuple(extensions))
    )


def _is_file(fs: Any, entry: dict[str, Any]) -> bool:
    """Whether an entry of a listing is a file, or a link to one (caches of hubs are all links).

    Raises:
        UsageError: it is a link that leads nowhere: a part that the user counts on.
    """
    if not entry.get("islink"):
        return bool(entry["type"] == "file")
    if not fs.exists(entry["name"]):
        raise UsageError(f"{entry['name']} is a link that leads nowhere: mend or remove it")
    return bool(fs.isfile(entry["name"]))


def _full_path(fs: Any, path: str) -> str:
    full = fs.unstrip_protocol(path)
    return local_path(full) or cast(str, full)


def _open_raw(path: str) -> IO[bytes]:
    """The stored bytes of a file. Raises OSError."""
    if path == STDIN:
        return sys.stdin.buffer
    local = local_path(path)
    if local is not None:
        return open(local, "rb", buffering=0)
    fs, remote = resolve(path)
    return cast(IO[bytes], fs.open(remote, "rb"))


class InputStream(io.RawIOBase):
    """The bytes of a text file, decompressed when its name ends in `.gz`.

    `stored_bytes_read` counts what was taken from the file as it is stored, for an ETA.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.stored_bytes_read = 0
        self._raw = _open_raw(path)
        self._counted = _Counted(self)
        self._file: IO[bytes] | None = None
        if path.endswith(".gz"):
            packed = gzip.GzipFile(fileobj=io.BufferedReader(self._counted, _READ_SIZE))
            self._file = cast(IO[bytes], packed)

    def read_raw(self, size: int) -> bytes:
        # A pipe is read as it comes: its writer may well take its time.
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
        """At most `size` bytes, none at the end.

        Raises:
            UsageError: the file is no gzip file, or it is cut off or damaged.
            OSError: it cannot be read.
        """
        if size < 0:
            return self.readall()
        if self._file is None:
            return self.read_raw(size)
        try:
            return self._file.read(size)
        except EOFError:
            raise UsageError(f"{self.path} is a gzip file that ends too early") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise UsageError(f"{self.path} cannot be unpacked as gzip: {error}") from None

    def close(self) -> None:
        if not self.closed and self.path != STDIN:
            self._raw.close()
        super().close()


class _Counted(io.RawIOBase):
    """The stored bytes, for the buffer that gzip reads from."""

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
    """Whether standard input ends before its first byte, which is not taken. Blocks until then."""
    peek = getattr(sys.stdin.buffer, "peek", None) if sys.stdin is not None else bytes
    return peek is not None and not peek()


def open_stream(path: str) -> InputStream:
    """Open a text file, or `-`, from its beginning.

    Raises:
        UsageError: it is not there or may not be read.
    """
    with said_plainly(f"read {path}"):
        return InputStream(path)


def open_seekable(path: str) -> str | IO[bytes]:
    """What pyarrow opens a file with that it seeks in: a local path, or a file object.

    Remote ones are read without a cache: parquet reads several places in turn, for which
    fsspec's read-ahead would fetch the same bytes again and again.

    Raises:
        UsageError: it is not there or may not be read.
    """
    if path == STDIN:
        raise UsageError("parquet cannot be read from standard input: save it to a file first")
    local = local_path(path)
    if local is not None:
        if os.path.getsize(local) == 0:
            raise UsageError(f"{path} is empty")
        return local
    with said_plainly(f"read {path}"):
        fs, remote = resolve(path)
        return cast(IO[bytes], fs.open(remote, "rb", cache_type="none"))
