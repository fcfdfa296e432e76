"""The tags of a TIFF's first page (TIFF 6.0, 2; BigTIFF)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

#: Most tags of a page.
MAX_TAGS = 2000
#: Bytes of a value, by its type, and how integers are unpacked.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}


@dataclass(frozen=True, slots=True)
class Tag:
    """An entry of a directory.

    Attributes:
        at: where the entry is.
        start: where its values are.
        size: bytes of all values; 0 if the type is unknown.
    """

    number: int
    at: int
    kind: int
    count: int
    start: int
    size: int


def byte_order(body: bytes | bytearray) -> str:
    """Return the order of bytes, for `struct`."""
    return "<" if body[:2] == b"II" else ">"


def read_directory(body: bytes | bytearray) -> list[Tag]:
    """Return the tags of the first page."""
    order = byte_order(body)
    big = struct.unpack_from(order + "H", body, 2)[0] == 43
    word, entry, inline = ("Q", "HHQ", 8) if big else ("I", "HHI", 4)
    (at,) = struct.unpack_from(order + word, body, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), body, at)
    at += 8 if big else 2
    tags: list[Tag] = []
    for _ in range(min(count, MAX_TAGS + 1)):
        number, kind, values = struct.unpack_from(order + entry, body, at)
        start, size = at + 4 + inline, values * _SIZES.get(kind, 0)
        if size > inline:
            (start,) = struct.unpack_from(order + word, body, start)
        tags.append(Tag(number, at, kind, values, start, size))
        at += 4 + 2 * inline
    return tags


def numbers_of(body: bytes | bytearray, tag: Tag | None) -> tuple[int, ...]:
    """Return the values of a tag, none if they are no integers. Raises struct.error."""
    if tag is None or tag.kind not in INTEGERS:
        return ()
    return struct.unpack_from(f"{byte_order(body)}{tag.count}{INTEGERS[tag.kind]}", body, tag.start)


def number_of(body: bytes | bytearray, tags: Mapping[int, Tag], name: int, default: int = 0) -> int:
    """Return the first value of a tag; the default if there is none. Raises struct.error."""
    tag = tags.get(name)
    if tag is None or tag.kind not in INTEGERS or not tag.count:
        return default
    value: int = struct.unpack_from(byte_order(body) + INTEGERS[tag.kind], body, tag.start)[0]
    return value
