"""Read the records of a WAT file from its stored bytes, gzip or plain, as a stream.

A gzip member holds one record. The file is cut at gzip's magic number, and each member is inflated
at once, which is faster than as a stream. If that fails the member is inflated as a stream: a magic
number within compressed data costs time only, and a member may hold any number of records. A
damaged member loses its own records only; reading resumes at the next magic number.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from struct import Struct
from typing import Any, Protocol

from img2ds.core.failure import UsageError
from laion.wat.native import load
from laion.wat.warc import Record, Records, RecordSplitter, only_record, split_records

_zlib: Any = zlib
_deflate: Any = None
# Faster libraries, which have no wheels for some machines.
with suppress(ImportError):
    _zlib = import_module("isal.isal_zlib")
with suppress(ImportError):
    _deflate = import_module("deflate")

#: The start of a member: ID1, ID2 and CM, which is always deflate (RFC 1952, 2.3.1).
MAGIC = b"\x1f\x8b\x08"
#: Bytes of a member besides its data, without optional fields (RFC 1952, 2.3).
_OVERHEAD = 18
#: Bytes that one byte of deflate can expand to (zlib's technical notes).
_MAX_RATIO = 1032
#: Bytes read of the file at once; more than a core's cache holds is slower.
CHUNK = 1 << 18
#: Bytes given to the stream decoder, and taken from it, at once.
_STEP = 1 << 16
#: Most stored bytes of a member that is inflated at once; larger ones are streamed.
_MAX_WHOLE = 1 << 24
#: zlib's `wbits` for gzip with its header and checksum.
_GZIP = 31

_trailer = Struct("<II").unpack_from


class TruncatedError(OSError):
    """The end of a file is missing."""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_records(file: Readable, name: str = "the file") -> Records:
    """Yield the records of a WAT file in order, None for each damaged member.

    Raises:
        UsageError: it is neither gzip nor WARC.
        TruncatedError: it ends within a record; those before have been yielded.
        OSError: it cannot be read.
    """
    first = file.read(CHUNK)
    truncated = False
    if first.startswith(MAGIC[:2]):
        members = _Members(file.read, first)
        yield from members.records()
        truncated = members.truncated
    elif first.startswith(b"WARC/"):
        splitter = RecordSplitter()
        while first:
            yield from splitter.feed(first)
            first = file.read(CHUNK)
        for damaged in splitter.close():
            truncated = True
            yield damaged
    elif first:
        raise UsageError(f"{name} is not a WAT file: it starts with {first[:16]!r}")
    else:
        raise UsageError(f"{name} is empty")
    if truncated:
        raise TruncatedError(f"{name} is truncated: its end is missing")


def _search(buffer: bytes, start: int) -> int:
    return buffer.find(MAGIC, start)


def _no_cut(data: bytes | bytearray) -> Record | None:
    return None


_members = load("members")
_find_magic = _search if _members is None else _members.find_magic
_cut = _no_cut if _members is None else _members.cut


def _inflate(member: bytes) -> bytes | bytearray | None:
    """Inflate a member; None if it is not exactly one undamaged member."""
    if not _OVERHEAD <= len(member) <= _MAX_WHOLE:
        return None
    # The trailer states the size of the data (RFC 1952, 2.3.1); it may be wrong.
    checksum, size = _trailer(member, len(member) - 8)
    if not 0 < size <= _MAX_RATIO * len(member):
        return None
    if _deflate is not None:
        try:
            data: bytes | bytearray = _deflate.gzip_decompress(member)
        except _deflate.DeflateError:
            return None
    else:
        decoder = _zlib.decompressobj(_GZIP)
        try:
            data = decoder.decompress(member)
        except _zlib.error:
            return None
        if not decoder.eof:
            return None
    # If the next member's magic is damaged, this is the trailer of that member.
    return data if len(data) == size and _zlib.crc32(data) == checksum else None


class _Members:
    """The members of a gzip file. `_buffer[_at:]` is read, but not yet inflated.

    Attributes:
        truncated: whether the file ended within a member, and no whole one came after it.
    """

    def __init__(self, read: Callable[[int], bytes], first: bytes) -> None:
        self._read = read
        self._buffer = first
        self._at = 0
        self._ended = False
        self.truncated = False

    def records(self) -> Records:
        while True:
            end = _find_magic(self._buffer, self._at + _OVERHEAD)
            if end < 0:
                end = self._end_of_member()
                if end == self._at:
                    return
            data = _inflate(self._buffer[self._at : end])
            if data is None:
                yield from self._stream()
                continue
            self._at = end
            self.truncated = False
            record = _cut(data) or only_record(data)
            if record is not None:
                yield record
            else:
                yield from split_records(data)

    def _fill(self) -> bool:
        """Read the next chunk of the file into the buffer. Return False at the end of the file."""
        more = b"" if self._ended else self._read(CHUNK)
        if not more:
            self._ended = True
            return False
        self._buffer = self._buffer[self._at :] + more
        self._at = 0
        return True

    def _end_of_member(self) -> int:
        """Find the next magic, the end of the file, or the end of what is inflated at once."""
        searched = 1
        while True:
            end = _find_magic(self._buffer, self._at + searched)
            if end >= 0:
                return end
            held = len(self._buffer) - self._at
            # A part of the magic may be at the end of the buffer.
            searched = max(1, held - len(MAGIC) + 1)
            if held > _MAX_WHOLE or not self._fill():
                return len(self._buffer)

    def _stream(self) -> Records:
        """Inflate the member as a stream; if it is damaged, go to the next magic."""
        decoder: Any = _zlib.decompressobj(_GZIP)
        splitter = RecordSplitter()
        # Records are yielded once the checksum is known to be right; those of members too large to
        # be held are yielded before.
        waiting: list[Record | None] = []
        inflated = fed = 0  # `fed` counts from `_at`
        while not decoder.eof:
            if self._at + fed == len(self._buffer):
                if fed > _MAX_WHOLE:
                    self._at, fed = len(self._buffer), 0
                if not self._fill():
                    self.truncated = True
                    break
            piece = self._buffer[self._at + fed : self._at + fed + _STEP]
            fed += len(piece)
            try:
                data = decoder.decompress(piece, _STEP)
                while True:
                    inflated += len(data)
                    waiting += splitter.feed(data)
                    if decoder.eof or not decoder.unconsumed_tail:
                        break
                    data = decoder.decompress(decoder.unconsumed_tail, _STEP)
            except _zlib.error:
                break
            if inflated > _MAX_WHOLE:
                yield from waiting
                waiting.clear()
        if not decoder.eof:
            yield None
            self._resume(self._at + 1)
            return
        yield from waiting
        yield from splitter.close()
        self._at += fed - len(decoder.unused_data)
        while len(self._buffer) - self._at < len(MAGIC) and self._fill():
            pass
        rest = self._buffer[self._at : self._at + len(MAGIC)]
        self.truncated = 0 < len(rest) < len(MAGIC) and MAGIC.startswith(rest)
        # Some files are padded with zeros. Anything else was the start of a member.
        if not self._buffer.startswith(MAGIC, self._at) and self._resume(self._at):
            yield None

    def _resume(self, after: int) -> bool:
        """Go to the first magic from `after` on, or to the end of the file.

        Returns:
            Whether anything but zeros was passed over.
        """
        self._at = after
        damaged = False
        while True:
            found = _find_magic(self._buffer, self._at)
            # A part of the magic may be at the end of the buffer.
            end = found if found >= 0 else max(self._at, len(self._buffer) - len(MAGIC) + 1)
            if found < 0 and self._ended:
                end = len(self._buffer)
            damaged = damaged or bool(self._buffer[self._at : end].strip(b"\0"))
            self._at = end
            if found >= 0 or (self._ended and end == len(self._buffer)):
                return damaged
            self._fill()
