"""The first page of a TIFF as tags and data, and TIFFs that are put together from parts of it."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from img2ds.image.decode_error import CUT_SHORT, DecodeError
from img2ds.image.headers import tiff
from img2ds.image.headers.tiff_layout import Layout, read_layout
from img2ds.image.headers.tiff_tags import Tag, byte_order, number_of, numbers_of, read_directory

HEIGHT, ROWS, _BITS = 257, 278, 258
#: Where the data are, and how long they are: of strips, and of tiles.
STRIPS, TILES = (273, 279), (324, 325)
#: The type of 16 bits; the one of 32; that of 64, which only BigTIFF has; and all that are copied.
SHORT, LONG, _LONG8, _KINDS = 3, 4, 16, range(1, 14)
#: A tag: its type, how many values it has, and these, in the order of bytes of the file.
Entry = tuple[int, int, bytes]


@dataclass(frozen=True, slots=True)
class Page:
    """The first page of a TIFF.

    Attributes:
        order: of its bytes, for `struct`.
        entries: the tags that its pixels are decoded by, but for where they are.
        bits: of a sample.
        offsets, sizes: of the data of strips or tiles.
    """

    body: bytes | bytearray
    order: str
    layout: Layout
    entries: Mapping[int, Entry]
    bits: int
    offsets: Sequence[int]
    sizes: Sequence[int]

    def data(self, number: int) -> memoryview:
        """Return the data of a strip or tile."""
        return self.part(self.offsets[number], self.sizes[number])

    def part(self, start: int, size: int) -> memoryview:
        """Return a part of the file.

        Raises:
            DecodeError: it is not there.
        """
        part = memoryview(self.body)[start : start + size]
        if len(part) < size:
            raise DecodeError(CUT_SHORT, truncated=True)
        return part

    def numbers(self, kind: int, *values: int) -> Entry:
        """Return a tag of numbers: SHORT or LONG."""
        letter = "H" if kind == SHORT else "I"
        return kind, len(values), struct.pack(f"{self.order}{len(values)}{letter}", *values)

    def file(
        self, entries: Mapping[int, Entry], places: tuple[int, int], parts: Sequence[memoryview]
    ) -> bytes:
        """Return a TIFF of some strips or tiles.

        Args:
            places: the numbers of the tags with their offsets and their lengths.
        """
        sizes = self.numbers(LONG, *map(len, parts))
        table = dict(sorted({**entries, places[0]: sizes, places[1]: sizes}.items()))
        end = 8 + 2 + 12 * len(table) + 4
        start = end + sum(len(values) for _, _, values in table.values() if len(values) > 4)
        offsets = [start + sum(map(len, parts[:at])) for at in range(len(parts))]
        table[places[0]] = self.numbers(LONG, *offsets)
        directory, outside = b"", b""
        for number, (kind, count, values) in table.items():
            place = values.ljust(4, b"\0")
            if len(values) > 4:
                place = struct.pack(self.order + "I", end + len(outside))
                outside += values
            directory += struct.pack(self.order + "HHI", number, kind, count) + place
        mark = b"II*\0" if self.order == "<" else b"MM\0*"
        head = mark + struct.pack(self.order + "IH", 8, len(table))
        return b"".join([head, directory, bytes(4), outside, *parts])


def read_page(body: bytes | bytearray) -> Page | None:
    """Return the first page; None if it cannot be divided."""
    tags = {tag.number: tag for tag in reversed(read_directory(body))}
    layout = read_layout(body, tags)
    if layout is None:
        return None
    entries = _copied(body, tags)
    if entries is None:
        return None
    offsets, sizes = (numbers_of(body, tags[name]) for name in layout.places)
    bits = number_of(body, tags, _BITS, 1)
    return Page(body, byte_order(body), layout, entries, bits, offsets, sizes)


def _copied(body: bytes | bytearray, tags: Mapping[int, Tag]) -> dict[int, Entry] | None:
    """Return the tags but for those of the data; None if one cannot be copied."""
    order, entries = byte_order(body), dict[int, Entry]()
    for number, tag in tags.items():
        if number not in tiff.DECODED or number in STRIPS + TILES:
            continue
        if tag.kind == _LONG8:
            values = numbers_of(body, tag)
            if max(values, default=0) >= 1 << 32:
                return None
            entries[number] = LONG, tag.count, struct.pack(f"{order}{tag.count}I", *values)
        elif tag.kind in _KINDS:
            entries[number] = tag.kind, tag.count, bytes(body[tag.start : tag.start + tag.size])
    return entries
