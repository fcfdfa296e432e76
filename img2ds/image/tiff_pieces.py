"""Divide a TIFF into TIFFs of some strips, or rows of tiles, each: a large page is decoded one
after the other, and never is in memory as a whole.

A single strip that is not compressed, or by Deflate, is divided as well.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from img2ds.image.decode_error import BROKEN, CUT_SHORT, DecodeError
from img2ds.image.headers import tiff
from img2ds.image.headers.tiff_layout import PLAIN, Layout, read_layout
from img2ds.image.headers.tiff_tags import Tag, byte_order, numbers_of, read_directory

#: Pixels of a piece at least.
_PIECE = 1 << 20
#: Bytes that are inflated at a time.
_READ = 1 << 16
_HEIGHT, _ROWS, _STRIPS, _STRIP_SIZES = 257, 278, 273, 279
#: Tags that a piece has its own values of: of these, and where the data of tiles are.
_OWN = {_HEIGHT, _ROWS, _STRIPS, _STRIP_SIZES, 324, 325}
#: The type of 32 bits; the one of 64, which only BigTIFF has; and all that a piece may have.
_LONG, _LONG8, _KINDS = 4, 16, range(1, 14)
#: A tag of a piece: its type, how many values it has, and these.
_Entry = tuple[int, int, bytes]


def pieces(body: bytes | bytearray, grain: int) -> Iterator[tuple[slice, bytes]] | None:
    """Yield the rows of each piece, and the piece; None if the page cannot be divided.

    Args:
        grain: what the number of rows of each but the last is a multiple of; 8 at most.

    Raises:
        DecodeError: while it yields: data are missing or broken.
    """
    tags = {tag.number: tag for tag in reversed(read_directory(body))}
    layout = read_layout(body, tags)
    if layout is None:
        return None
    entries = _copied(body, tags)
    if entries is None:
        return None
    offsets, sizes = (numbers_of(body, tags[name]) for name in layout.places)
    rows = layout.part
    if rows < layout.height:
        together = max(grain, _PIECE // (layout.width * rows) // grain * grain)
        rows *= 1 if layout.row_bytes else together
    elif layout.down > 1:
        return None
    if rows % grain and rows < layout.height:
        return None
    return _pieces(body, layout, entries, (offsets, sizes), rows)


def _pieces(
    body: bytes | bytearray,
    layout: Layout,
    entries: dict[int, _Entry],
    data: tuple[tuple[int, ...], tuple[int, ...]],
    rows: int,
) -> Iterator[tuple[slice, bytes]]:
    order = byte_order(body)
    strip = _Strip(body, layout, data)
    for top in range(0, layout.height, rows):
        count = min(rows, layout.height - top)
        parts = strip.next(count) if layout.row_bytes else _whole(body, layout, data, top, count)
        yield slice(top, top + count), _file(order, entries, layout, count, parts)


def _part(body: bytes | bytearray, start: int, size: int) -> memoryview:
    if start + size > len(body):
        raise DecodeError(CUT_SHORT, truncated=True)
    return memoryview(body)[start : start + size]


def _whole(
    body: bytes | bytearray,
    layout: Layout,
    data: tuple[tuple[int, ...], tuple[int, ...]],
    top: int,
    count: int,
) -> list[memoryview]:
    """Return the strips or tiles of some rows, plane by plane."""
    each = layout.down * layout.across
    first, last = top // layout.rows, -(-(top + count) // layout.rows)
    return [
        _part(body, data[0][at], data[1][at])
        for plane in range(layout.planes)
        for at in range(plane * each + first * layout.across, plane * each + last * layout.across)
    ]


class _Strip:
    """The rows of a page in one strip, or in one for each plane."""

    def __init__(
        self,
        body: bytes | bytearray,
        layout: Layout,
        data: tuple[tuple[int, ...], tuple[int, ...]],
    ) -> None:
        self._body, self._layout, self._starts = body, layout, data[0]
        self._read = 0
        self._inflater = zlib.decompressobj()
        self._packed = _part(body, data[0][0], data[1][0])

    def next(self, count: int) -> list[memoryview]:
        """Return the data of the next rows, plane by plane."""
        size = count * self._layout.row_bytes
        if self._layout.compression == PLAIN:
            at, self._read = self._read, self._read + size
            return [_part(self._body, start + at, size) for start in self._starts]
        return [memoryview(zlib.compress(self._inflate(size), 0))]

    def _inflate(self, size: int) -> bytearray:
        raw = bytearray()
        try:
            while len(raw) < size:
                packed: bytes | memoryview = self._inflater.unconsumed_tail
                if not packed:
                    packed, self._packed = self._packed[:_READ], self._packed[_READ:]
                if not packed or self._inflater.eof:
                    raise DecodeError(BROKEN)
                raw += self._inflater.decompress(packed, size - len(raw))
        except zlib.error:
            raise DecodeError(BROKEN) from None
        return raw


def _copied(body: bytes | bytearray, tags: dict[int, Tag]) -> dict[int, _Entry] | None:
    """Return the tags that all pieces have; None if one cannot be copied."""
    order, entries = byte_order(body), dict[int, _Entry]()
    for number, tag in tags.items():
        if number not in tiff.DECODED or number in _OWN:
            continue
        if tag.kind == _LONG8:
            values = numbers_of(body, tag)
            if max(values, default=0) >= 1 << 32:
                return None
            entries[number] = _LONG, tag.count, struct.pack(f"{order}{tag.count}I", *values)
        elif tag.kind in _KINDS:
            entries[number] = tag.kind, tag.count, bytes(body[tag.start : tag.start + tag.size])
    return entries


def _file(
    order: str, entries: dict[int, _Entry], layout: Layout, height: int, parts: list[memoryview]
) -> bytes:
    """Return a TIFF of some strips or tiles."""

    def longs(*values: int) -> _Entry:
        return _LONG, len(values), struct.pack(f"{order}{len(values)}I", *values)

    own = {_HEIGHT: longs(height)}
    if layout.places[0] == _STRIPS:
        own[_ROWS] = longs(height if layout.row_bytes else layout.rows)
    sizes = [len(part) for part in parts]
    own[layout.places[1]] = longs(*sizes)
    own[layout.places[0]] = longs(*sizes)  # of the same length
    table = dict(sorted((entries | own).items()))
    end = 8 + 2 + 12 * len(table) + 4
    start = end + sum(len(values) for _, _, values in table.values() if len(values) > 4)
    table[layout.places[0]] = longs(*(start + sum(sizes[:at]) for at in range(len(sizes))))
    directory, outside = b"", b""
    for number, (kind, count, values) in table.items():
        place = values.ljust(4, b"\0")
        if len(values) > 4:
            place = struct.pack(order + "I", end + len(outside))
            outside += values
        directory += struct.pack(order + "HHI", number, kind, count) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(table))
    return b"".join([head, directory, bytes(4), outside, *parts])
