"""WARC records in the bytes of a WAT file (ISO 28500)."""

from __future__ import annotations

import re
from collections.abc import Iterator

#: `(data, start, end)`: the JSON of the record is `data[start:end]`; empty for records of another
#: type (warcinfo).
Record = tuple[bytes | bytearray, int, int]

#: None stands for a record that was lost to damage.
Records = Iterator[Record | None]

#: Most bytes of a record. A larger Content-Length is damage, not a page.
MAX_RECORD = 1 << 28
#: Most bytes of a record's header.
_MAX_HEADER = 1 << 16

_JSON = b"application/json"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*\r\n", re.I)
_NEXT = re.compile(rb"\r\nWARC/[01]\.")


def _find_block(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """Return start and end of the block of the record at `at`; None if its header is broken."""
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


def only_record(data: bytes | bytearray) -> Record | None:
    """Return the record that `data` is; None if it is damaged, or more or less than one."""
    block = _find_block(data, 0)
    if block is None or not data.startswith(b"WARC/"):
        return None
    start, end = block
    if not end <= len(data) <= end + 4:
        return None
    if data.find(_JSON, 0, start) < 0:
        end = start
    return data, start, end


def split_records(data: bytes | bytearray) -> Records:
    """Yield the records of `data`."""
    splitter = RecordSplitter()
    yield from splitter.feed(data)
    yield from splitter.close()


class RecordSplitter:
    """Splits a stream of uncompressed WARC bytes into records."""

    def __init__(self) -> None:
        self._data = b""
        self._lost = False  # the position of the next record is unknown

    def feed(self, piece: bytes | bytearray) -> Records:
        """Yield the records that are complete with the next piece of the stream."""
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
            header_end = self._data.find(b"\r\n\r\n", at)
            if header_end < 0 and len(self._data) - at < _MAX_HEADER:
                break
            block = _find_block(self._data, at) if header_end >= 0 else None
            if block is None or block[1] - block[0] > MAX_RECORD:
                yield None
                self._lost = True
                at += 5
                continue
            start, end = block
            if end > len(self._data):
                break
            is_json = self._data.find(_JSON, at, start) >= 0
            yield self._data, start, end if is_json else start
            at = end
        self._data = self._data[at:]

    def close(self) -> Records:
        """Yield None if the stream ends within a record."""
        if self._data.strip(b"\r\n\0") and not self._lost:
            yield None
        self._data = b""
