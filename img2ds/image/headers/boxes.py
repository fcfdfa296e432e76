"""The boxes of AVIF and JPEG 2000 files (ISO/IEC 14496-12, 4.2; 15444-1, I.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

#: A box: its type, and where its content starts and ends.
Box = tuple[bytes, int, int]

#: Most boxes that are read of one level.
_MAX_BOXES = 10_000


def boxes(body: bytes | bytearray, at: int, end: int) -> Iterator[Box]:
    """Yield the boxes from `at` to `end`; the last may end behind it."""
    for _ in range(_MAX_BOXES):
        if at + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", body, at)
        start = at + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", body, start)
            start += 8
        elif size == 0:  # up to the end
            size = end - at
        if at + size < start:
            return
        yield kind, start, at + size
        at += size


def by_type(body: bytes | bytearray, at: int, end: int) -> dict[bytes, tuple[int, int]]:
    """Return where the first box of each type starts and ends."""
    found: dict[bytes, tuple[int, int]] = {}
    for kind, start, stop in boxes(body, at, end):
        found.setdefault(kind, (start, stop))
    return found
