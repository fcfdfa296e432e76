"""The records of a WAT file, from its bytes as they are stored; gzip or plain, streamed.

A gzip member holds one record. Members are cut at gzip's magic and unpacked whole, which is
faster than a stream; where that fails the member is unpacked as a stream, so that a magic inside
packed data costs nothing but time, and a member may hold any number of records. A damaged member
costs itself alone: reading goes on at the next magic.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from struct import Struct
from typing import Any, Protocol

from img2ds.core.failure import UsageError
from laion.wat.native import load

_zlib: Any = zlib
_deflate: Any = None
# Faster ones, which have no wheels for some machines.
with suppress(ImportError):
    _zlib = import_module("isal.isal_zlib")
with suppress(ImportError):
    _deflate = import_module("deflate")

#: A member's start: ID1, ID2 and CM, which is always deflate (RFC 1952, 2.3.1).
MAGIC = b"\x1f\x8b\x08"
#: Bytes of a member besides its data, without optional fields (RFC 1952, 2.3).
_OVERHEAD = 18
#: Bytes that deflate can at most unpack of one (zlib's technical notes).
_MAX_RATIO = 1032
#: Bytes asked of the file at once; more than a core's cache holds takes longer.
CHUNK = 1 << 18
#: Bytes given to the stream decoder, and taken of it, at once.
_STEP = 1 << 16
#: Stored bytes up to which a member is unpacked whole; others are streamed.
_MAX_WHOLE = 1 << 24
#: Bytes of a record that are held; a length above it is damage, not a page.
MAX_RECORD = 1 << 28
#: gzip with its header and checksum, for zlib.
_GZIP = 31

_trailer = Struct("<II").unpack_from

_JSON = b"application/json"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*\r\n", re.I)
_NEXT = re.compile(rb"\r\nWARC/[01]\.")


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


#: (data, start, end): the record's JSON is `data[start:end]`, which is empty for records of
#: another kind (warcinfo).
Record = tuple[bytes | bytearray, int, int]

#: A record, or None in the place of one that was lost to damage.
Records = Iterator[Record | None]


def read_records(file: Readable, name: str = "the file") -> Records:
    """The records of a WAT file in order, None for each damaged member.

    Raises:
        UsageError: it is neither gzip nor WARC.
        OSError: it cannot be read.
    """
    first = file.read(CHUNK)
    if first.startswith(MAGIC[:2]):
        yield from _Members(file.read, first).records()
    elif first.startswith(b"WARC/"):
        splitter = _Splitter()
        while first:
            yield from splitter.feed(first)
            first = file.read(CHUNK)
        yield from splitter.close()
    elif first:
        raise UsageError(f"{name} is no WAT file: it starts with {first[:16]!r}")
    else:
        raise UsageError(f"{name} is empty")


def _search(buffer: bytes, start: int) -> int:
    return buffer.find(MAGIC, start)


def _no_cut(data: bytes | bytearray) -> Record | None:
    return None


_members = load("members")
_find_magic = _search if _members is None else _members.find_magic
_cut = _no_cut if _members is None else _members.cut


def _unpack(member: bytes) -> bytes | bytearray | None:
    """What a whole member holds; None when this is not one whole, sound member."""
    if not _OVERHEAD <= len(member) <= _MAX_WHOLE:
        return None
    # The trailer says how much it is (RFC 1952, 2.3.1), which must not be believed blindly.
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
    # A member in front of one with a damaged magic ends in the trailer of another.
    return data if len(data) == size and _zlib.crc32(data) == checksum else None


class _Members:
    """A gzip file, of which `_buffer[_at:]` is still to be unpacked."""

    def __init__(self, read: Callable[[int], bytes], first: bytes) -> None:
        self._read = read
        self._buffer = first
        self._at = 0
        self._ended = False

    def records(self) -> Records:
        while True:
            end = _find_magic(self._buffer, self._at + _OVERHEAD)
            if end < 0:
                end = self._end_of_member()
                if end == self._at:
                    return
            data = _unpack(self._buffer[self._at : end])
            if data is None:
                yield from self._stream()
                continue
            self._at = end
            record = _cut(data) or _only_record(data)
            if record is not None:
                yield record
            else:
                yield from _split(data)

    def _fill(self) -> bool:
        """Add to the buffer what comes next in the file; False at its end."""
        more = b"" if self._ended else self._read(CHUNK)
        if not more:
            self._ended = True
            return False
        self._buffer = self._buffer[self._at :] + more
        self._at = 0
        return True

    def _end_of_member(self) -> int:
        """Where the next magic is, or the end of the file, or of what is unpacked whole."""
        searched = 1
        while True:
            end = _find_magic(self._buffer, self._at + searched)
            if end >= 0:
                return end
            held = len(self._buffer) - self._at
            # The magic may be cut by the end of the buffer.
            searched = max(1, held - len(MAGIC) + 1)
            if held > _MAX_WHOLE or not self._fill():
                return len(self._buffer)

    def _stream(self) -> Records:
        """Unpack the member piece by piece; go to the next magic where that cannot be done."""
        decoder: Any = _zlib.decompressobj(_GZIP)
        splitter = _Splitter()
        # Records are given out once the checksum behind them is known to hold; those of members
        # too large to be held are given out before.
        waiting: list[Record | None] = []
        unpacked = fed = 0  # `fed` counts from `_at`
        while not decoder.eof:
            if self._at + fed == len(self._buffer):
                if fed > _MAX_WHOLE:
                    self._at, fed = len(self._buffer), 0
                if not self._fill():
                    break
            piece = self._buffer[self._at + fed : self._at + fed + _STEP]
            fed += len(piece)
            try:
                data = decoder.decompress(piece, _STEP)
                while True:
                    unpacked += len(data)
                    waiting += splitter.feed(data)
                    if decoder.eof or not decoder.unconsumed_tail:
                        break
                    data = decoder.decompress(decoder.unconsumed_tail, _STEP)
            except _zlib.error:
                break
            if unpacked > _MAX_WHOLE:
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
        # Zeros pad the end of some files; anything else was a member's start once.
        if not self._buffer.startswith(MAGIC, self._at) and self._resume(self._at):
            yield None

    def _resume(self, after: int) -> bool:
        """Go to the first magic at or behind `after`, or the end; whether over more than zeros."""
        self._at = after
        damaged = False
        while True:
            found = _find_magic(self._buffer, self._at)
            # The magic may be cut by the end of the buffer.
            end = found if found >= 0 else max(self._at, len(self._buffer) - len(MAGIC) + 1)
            if found < 0 and self._ended:
                end = len(self._buffer)
            damaged = damaged or bool(self._buffer[self._at : end].strip(b"\0"))
            self._at = end
            if found >= 0 or (self._ended and end == len(self._buffer)):
                return damaged
            self._fill()


def _body(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """Start and end of the block of the record at `at`; None when its head is cut or wrong."""
    start = data.find(b"\r\n\r\n", at)
    if start < 0:
        return None
    found = data.find(b"\r\nContent-Length: ", at, start)
    if found >= 0:
        digits = data[found + 18 : data.find(b"\r\n", found + 18)]
    else:
        match = _LENGTH.search(data, at, start + 2)
        if match is None:
            return None
        digits = match[1]
    if not digits.isdigit():
        return None
    start += 4
    return start, start + int(digits)


def _only_record(data: bytes | bytearray) -> Record | None:
    """The record that `data` is; None when it is another number of them, or damaged."""
    body = _body(data, 0)
    if body is None or not data.startswith(b"WARC/"):
        return None
    start, end = body
    if not end <= len(data) <= end + 4:
        return None
    if data.find(_JSON, 0, start) < 0:
        end = start
    return data, start, end


def _split(data: bytes | bytearray) -> Records:
    splitter = _Splitter()
    yield from splitter.feed(data)
    yield from splitter.close()


class _Splitter:
    """Cuts plain WARC bytes into records, whatever pieces they come in."""

    def __init__(self) -> None:
        self._data = b""
        self._lost = False

    def feed(self, piece: bytes | bytearray) -> Records:
        self._data += piece
        at = 0
        while True:
            while self._data[at : at + 2] == b"\r\n":
                at += 2
            if len(self._data) - at < 7:
                break
            if not self._data.startswith(b"WARC/", at):
                if not self._lost:
                    yield None
                self._lost = True
                match = _NEXT.search(self._data, at)
                if match is None:
                    at = max(at, len(self._data) - 8)
                    break
                at = match.start() + 2
                continue
            self._lost = False
            head = self._data.find(b"\r\n\r\n", at)
            if head < 0 and len(self._data) - at < _STEP:
                break
            body = _body(self._data, at) if head >= 0 else None
            if body is None or body[1] - body[0] > MAX_RECORD:
                yield None
                self._lost = True
                at += 5
                continue
            start, end = body
            if end > len(self._data):
                break
            is_json = self._data.find(_JSON, at, start) >= 0
            yield self._data, start, end if is_json else start
            at = end
        self._data = self._data[at:]

    def close(self) -> Records:
        if self._data.strip(b"\r\n\0") and not self._lost:
            yield None
        self._data = b""
