"""The header of a TIFF (TIFF 6.0; BigTIFF): its first page."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.header import Header, plausible_icc

#: Most tags of a page, and strips or tiles. Pillow has an object of 350 bytes for each.
MAX_TAGS, _MAX_STRIPS = 2000, 100_000
#: Pixels of a tile that may be larger than its page, which a decoder allocates nonetheless.
_MAX_TILE = 2048 * 2048

# Tags (TIFF 6.0, appendix A; ICC.1, B.4).
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 256, 257, 258, 262, 274, 277
_STRIPS, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _EXTRA, _ICC = 273, 322, 323, 324, 338, 34675
#: The tags that pixels are decoded by, some of them of compressions; the rest is hidden from
#: decoders, whose memory they could exhaust.
DECODED = frozenset({
    _WIDTH, _HEIGHT, _BITS, 259, _PHOTOMETRIC, 266, _STRIPS, _SAMPLES, 278, 279, 284, 292, 293,
    317, 320, 321, _TILE_WIDTH, _TILE_HEIGHT, _TILES, 325, 332, _EXTRA, 339, 347,
    *range(512, 522), 529, 530, 531, 532,
})  # fmt: skip
#: Bytes of a value, by its type, and how integers are unpacked.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}

_GREY, _CMYK = (0, 1), 5


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


def read_header(body: bytes | bytearray) -> Header | Failure:
    """Read the first page's size and kind, and refuse numbers that a decoder would allocate by."""
    directory = read_directory(body)
    tags = {tag.number: tag for tag in reversed(directory)}  # the first of a number counts

    def number(name: int, default: int = 0) -> int:
        tag = tags.get(name)
        if tag is None or tag.kind not in _INTEGERS or not tag.count:
            return default
        value: int = struct.unpack_from(byte_order(body) + _INTEGERS[tag.kind], body, tag.start)[0]
        return value

    if _WIDTH not in tags or _HEIGHT not in tags:
        return failure(Reason.DECODE_ERROR, "TIFF without a size")
    width, height = number(_WIDTH), number(_HEIGHT)
    photometric = number(_PHOTOMETRIC)
    channels = 1 if photometric in _GREY else 4 if photometric == _CMYK else 3
    header = Header("tiff", width, height, channels, number(_BITS, 1))
    header.transparent = number(_EXTRA) in (1, 2)
    decoded = sum(tag.size for tag in directory if tag.number in DECODED)
    pieces = sum(tags[name].count for name in (_STRIPS, _TILES) if name in tags)
    tile = number(_TILE_WIDTH) * number(_TILE_HEIGHT)
    if (
        len(directory) > MAX_TAGS
        or decoded > len(body)
        or pieces > _MAX_STRIPS
        or tile > max(_MAX_TILE, 2 * width * height)
    ):
        return failure(Reason.IMAGE_BOMB, "TIFF of larger parts than its size")
    header.exif = bytes(body)
    orientation = number(_ORIENTATION)
    header.orientation = orientation if 1 <= orientation <= 8 else 1
    if _ICC in tags:
        profile = tags[_ICC]
        header.icc = plausible_icc(bytes(body[profile.start : profile.start + profile.size]))
    return header
