"""The header of an AVIF (AV1 Image File Format 1.1; ISO/IEC 23008-12; ISO/IEC 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.header import Header, plausible_icc
from img2ds.image.headers.av1 import read_sequence
from img2ds.image.headers.boxes import Box, boxes, by_type

#: Most items that are read, the tiles of a large grid, and parts of their data.
_MAX_ITEMS, _MAX_PARTS = 2000, 20_000
#: Most units of all items, and frames of one: a decoder may decode all, and layers are four.
_MAX_UNITS, _MAX_FRAMES = 20_000, 32
#: Frames that a decoder keeps besides the one that it decodes (AV1 specification, 7.20).
_REFERENCES = 8
#: Colours by a profile (ISO/IEC 14496-12, 12.1.5).
_PROFILES = (b"prof", b"rICC")
#: The orientation of EXIF, by the quarters of a turn to the left, and by the axis that mirrors
#: after it: none, rows change places, columns do (ISO/IEC 23008-12, 6.5.10 and 6.5.12).
_ORIENTATIONS = ((1, 4, 2), (8, 5, 7), (3, 2, 4), (6, 7, 5))
#: What a coded frame may have more pixels than the image: those of a tile that is cropped.
_SLACK = 1 << 16


@dataclass(slots=True)
class Item:
    """An item of a file.

    Attributes:
        kind: such as av01, grid or Exif.
        kind_at: where that is written.
        extents: where its data start and end.
        properties: the boxes that describe it.
    """

    kind: bytes = b""
    kind_at: int = 0
    extents: list[tuple[int, int]] = field(default_factory=list)
    properties: list[Box] = field(default_factory=list)


def read_header(body: bytes | bytearray) -> Header | Failure:
    """Read the primary item. An animation has one, too."""
    meta = read_meta(body)
    if not meta:
        return failure(Reason.DECODE_ERROR, "AVIF without a still image")
    version = body[meta[b"pitm"][0]]
    (primary,) = struct.unpack_from(">I" if version else ">H", body, meta[b"pitm"][0] + 4)
    items = read_items(body, meta)
    if primary not in items:
        return failure(Reason.DECODE_ERROR, "AVIF without its image")
    header = _read_properties(body, items[primary].properties)
    if not header.width:
        return failure(Reason.DECODE_ERROR, "AVIF without a size")
    header.transparent = b"iref" in meta and b"auxl" in by_type(
        body, meta[b"iref"][0] + 4, meta[b"iref"][1]
    )
    return _check_items(header, body, items)


def read_meta(body: bytes | bytearray) -> dict[bytes, tuple[int, int]]:
    """Return the boxes that describe the items; none if the file has an animation only.

    Raises:
        IndexError: they are cut short.
    """
    top = by_type(body, 0, len(body))
    start, end = top.get(b"meta", (0, len(body) + 1))
    if not start and b"moov" in top:
        return {}
    meta = by_type(body, start + 4, min(end, len(body)))
    if end > len(body) or not meta.keys() >= {b"pitm", b"iinf", b"iloc", b"iprp"}:
        raise IndexError
    return meta


def _read_properties(body: bytes | bytearray, properties: list[Box]) -> Header:
    header = Header("avif", 0, 0)
    turns, axis = 0, 0
    for kind, start, end in properties:
        if kind == b"ispe":
            header.width, header.height = struct.unpack_from(">II", body, start + 4)
        elif kind == b"pixi" and body[start + 4]:
            header.channels, header.depth = 1 if body[start + 4] == 1 else 3, body[start + 5]
        elif kind == b"irot":
            turns = body[start] & 3
        elif kind == b"imir":
            axis = 1 + (body[start] & 1)
        elif kind == b"colr" and body[start : start + 4] in _PROFILES:
            header.icc = plausible_icc(bytes(body[start + 4 : end]))
    header.orientation = _ORIENTATIONS[turns][axis]
    return header


def _check_items(
    header: Header, body: bytes | bytearray, items: dict[int, Item]
) -> Header | Failure:
    """Hold coded frames to the size of the image: a decoder allocates by theirs."""
    most = header.width * header.height + _SLACK
    sizes: list[tuple[int, int]] = []
    planes: list[int] = []
    total = units = 0
    view = memoryview(body)
    for item in items.values():
        total += sum(max(0, end - start) for start, end in item.extents)
        if total > 2 * len(body) + _SLACK:
            return failure(Reason.IMAGE_BOMB, "AVIF of more data than the file has")
        parts = [view[start:end] for start, end in item.extents]
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if item.kind == b"Exif" and header.exif is None:
            header.exif = bytes(data[4 + int.from_bytes(data[:4], "big") :])
            continue
        if item.kind not in (b"av01", b"grid"):
            continue
        header.complete &= all(end <= len(body) for _, end in item.extents)
        if item.kind == b"grid":
            sizes.append(_grid_size(data))
            continue
        sequence = read_sequence(data)
        units += sequence.units if sequence else _MAX_UNITS
        if sequence is None or units > _MAX_UNITS or sequence.frames > _MAX_FRAMES:
            return failure(Reason.IMAGE_BOMB, "AVIF of too many frames")
        sizes += sequence.sizes
        planes.append(sequence.frame_bytes * min(max(sequence.frames, 1), _REFERENCES + 1))
    header.planes = tuple(planes)
    if planes and any(item.kind == b"grid" for item in items.values()):
        # Tiles are decoded one after the other, and copied into one image.
        header.planes = sum(planes), 2 * max(planes)
    if any(width * height > most for width, height in sizes):
        return failure(Reason.IMAGE_BOMB, "AVIF of larger frames than its size")
    return header


def _grid_size(data: bytes | memoryview) -> tuple[int, int]:
    """Read the size of an image that is put together from others (ISO/IEC 23008-12, 6.6.2.3)."""
    width, height = struct.unpack_from(">II" if data[1] & 1 else ">HH", data, 4)
    return width, height


def read_items(body: bytes | bytearray, meta: dict[bytes, tuple[int, int]]) -> dict[int, Item]:
    """Return the items by number; `meta` has the boxes that describe them."""
    items: dict[int, Item] = {}
    start, end = meta[b"iinf"]
    for kind, at, _ in boxes(body, start + (8 if body[start] else 6), end):
        if kind == b"infe" and body[at] >= 2 and len(items) < _MAX_ITEMS:
            wide = body[at] > 2
            (number,) = struct.unpack_from(">I" if wide else ">H", body, at + 4)
            at += 10 if wide else 8
            items[number] = Item(bytes(body[at : at + 4]), at)
    for number, extents in _locations(body, meta[b"iloc"][0], meta.get(b"idat", (0, 0))[0]):
        if number in items:
            items[number].extents = extents
    parts = by_type(body, *meta[b"iprp"])
    known = list(boxes(body, *parts[b"ipco"])) if b"ipco" in parts else []
    if b"ipma" in parts:
        for number, places in _associations(body, parts[b"ipma"][0]):
            if number in items:
                items[number].properties = [known[at - 1] for at in places if 0 < at <= len(known)]
    return items


def _associations(body: bytes | bytearray, at: int) -> Iterator[tuple[int, list[int]]]:
    """Yield items, and the places of their properties, counted from one."""
    version, flags = body[at], body[at + 3]
    (count,) = struct.unpack_from(">I", body, at + 4)
    at += 8
    left = _MAX_PARTS
    for _ in range(min(count, _MAX_ITEMS)):
        number, length = struct.unpack_from(">IB" if version else ">HB", body, at)
        at += 5 if version else 3
        left -= length
        if left < 0:
            return
        if flags & 1:
            yield number, [place & 0x7FFF for place in struct.unpack_from(f">{length}H", body, at)]
        else:
            yield number, [place & 0x7F for place in struct.unpack_from(f"{length}B", body, at)]
        at += length * (2 if flags & 1 else 1)


def _locations(
    body: bytes | bytearray, at: int, idat: int
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield items, and where their data start and end; from the box `iloc`."""
    version = body[at]
    offset_size, length_size = body[at + 4] >> 4, body[at + 4] & 15
    base_size, index_size = body[at + 5] >> 4, body[at + 5] & 15 if version else 0
    at += 6
    left = _MAX_PARTS

    def number(size: int) -> int:
        nonlocal at
        if at + size > len(body):
            raise IndexError
        at += size
        return int.from_bytes(body[at - size : at], "big")

    for _ in range(min(number(4 if version == 2 else 2), _MAX_ITEMS)):
        item = number(4 if version == 2 else 2)
        method = number(2) & 15 if version else 0
        number(2)  # of the file that has the data
        base = number(base_size) + (idat if method else 0)
        extents = []
        count = number(2)
        left -= count
        if left < 0:
            return
        for _ in range(count):
            number(index_size)
            start = base + number(offset_size)
            length = number(length_size)
            extents.append((start, start + length if length else len(body)))
        yield item, extents
