"""Compressed text files: known by how they begin, and read as streams."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, cast

#: Bytes that are read of a compressed file at once.
_READ_SIZE = 1 << 20


class TruncatedError(Exception):
    """A compressed file ends before its data does."""


class DamagedError(Exception):
    """Data that a compression cannot have written."""


@dataclass(frozen=True, slots=True)
class Compression:
    """One way of compressing a file.

    Attributes:
        extension: the end of the names of its files, without the dot.
        name: for people.
        magic: how its files begin; several where there are several kinds.
        start: returns the data of a file of stored bytes, as a file.
    """

    extension: str
    name: str
    magic: tuple[bytes, ...]
    start: Callable[[IO[bytes]], Any]


class _Streams:
    """Streams one after another, as a file.

    Python's own files ignore what follows a stream and does not begin like another one, so that
    damage there would end the data without an error.

    Args:
        start: returns the decompressor of one stream.
    """

    def __init__(self, stored: IO[bytes], start: Callable[[], Any]) -> None:
        self._stored, self._start = stored, start
        self._stream = start()
        self._begun = True  # whether data of the present stream was read

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end. Raises EOFError."""
        while True:
            data = b""
            if self._stream.eof:
                # xz pads streams with zeros.
                data = self._stream.unused_data.lstrip(b"\0")
                self._stream, self._begun = self._start(), bool(data)
            if not data and self._stream.needs_input:
                data = self._stored.read(_READ_SIZE)
                if not self._begun:
                    data = data.lstrip(b"\0") or data[:0]
                if not data:
                    if self._begun:
                        raise EOFError
                    return b""
                self._begun = True
            if found := self._stream.decompress(data, size):
                return cast(bytes, found)


def _zstandard(stored: IO[bytes]) -> Any:
    import pyarrow as pa  # takes a third of a worker's start

    return pa.CompressedInputStream(pa.PythonFile(stored, mode="r"), "zstd")


COMPRESSIONS = (
    Compression("gz", "gzip", (b"\x1f\x8b",), lambda stored: gzip.GzipFile(fileobj=stored)),
    Compression(
        "zst", "zstd",
        # Any frame, or one of those that readers skip: RFC 8878 3.1.
        (b"\x28\xb5\x2f\xfd", *(bytes((n, 0x2A, 0x4D, 0x18)) for n in range(0x50, 0x60))),
        _zstandard,
    ),
    # The first block, or the end of a file without any.
    Compression(
        "bz2", "bzip2",
        tuple(b"BZh%d%b" % (n, next_) for n in range(1, 10)
              for next_ in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")),
        lambda stored: _Streams(stored, bz2.BZ2Decompressor),
    ),
    Compression(
        "xz", "xz", (b"\xfd7zXZ\0",), lambda stored: _Streams(stored, lzma.LZMADecompressor)
    ),
)  # fmt: skip

#: Bytes at the start of a file that tell its compression.
START_BYTES = max(len(magic) for kind in COMPRESSIONS for magic in kind.magic)


def compression_of(start: bytes) -> Compression | None:
    """Return the compression of a file that begins like this; None for other files."""
    return next((kind for kind in COMPRESSIONS if start.startswith(kind.magic)), None)


def compression_of_name(name: str) -> Compression | None:
    """Return the compression that the name of a file promises; None for none."""
    return next((kind for kind in COMPRESSIONS if name.endswith(f".{kind.extension}")), None)


class Decompressed:
    """The data of a compressed file, read from its start."""

    def __init__(self, kind: Compression, stored: io.RawIOBase) -> None:
        self._file = kind.start(cast(IO[bytes], io.BufferedReader(stored, _READ_SIZE)))

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end.

        Raises:
            TruncatedError, DamagedError: the file is.
            OSError: it cannot be read.
        """
        try:
            return cast(bytes, self._file.read(size))
        except EOFError:
            raise TruncatedError from None
        except (gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
            raise DamagedError(str(error)) from None
        except OSError as error:
            if error.errno is not None:
                raise
            if "Truncated" in str(error):  # pyarrow's
                raise TruncatedError from None
            raise DamagedError(str(error)) from None
