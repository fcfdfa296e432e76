"""How the pixels of a TIFF's first page are divided: strips, or rows of tiles (TIFF 6.0, 3 and 15).

Each can be decoded without the others, so that a page need not be in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from img2ds.image.headers.tiff_tags import Tag, number_of, numbers_of

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _SAMPLES, _ROWS, _STRIP_SIZES, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES = 322, 323, 324, 325
#: Compressions of single strips that can be divided further: none, and Deflate by both numbers.
PLAIN, DEFLATE = 1, (8, 32946)
#: JPEGs of the old kind lie elsewhere than their strips.
_OLD_JPEG = 6
_YCC = 6
#: Most samples of a pixel that any mode has.
_MAX_SAMPLES = 5
#: Pixels of a part of a strip that is divided.
_PART = 1 << 20
#: Rows that every other unit of division is a multiple of.
GRAIN = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """How a page is divided.

    Attributes:
        rows: of pixels in a strip or tile.
        across: tiles side by side; 1 for strips.
        planes: 1, or the samples of a pixel if they lie apart.
        places: the number of the tag with the offsets, and of the one with the lengths.
        row_bytes: of a strip that can be divided at any row, the length of one; else 0.
        compression: of the strips.
    """

    width: int
    height: int
    rows: int
    across: int
    planes: int
    places: tuple[int, int]
    row_bytes: int
    compression: int

    @property
    def down(self) -> int:
        """How many strips or tiles are one below the other."""
        return -(-self.height // self.rows)

    @property
    def part(self) -> int:
        """Rows that are decoded together at least."""
        if self.row_bytes:
            return min(self.rows, max(1, _PART // self.width // GRAIN) * GRAIN)
        return self.rows


def read_layout(body: bytes | bytearray, tags: Mapping[int, Tag]) -> Layout | None:
    """Return how a page is divided; None if it can be decoded as a whole only."""
    number = partial(number_of, body, tags)
    width, height = number(_WIDTH), number(_HEIGHT)
    if not width or not height:
        return None
    compression, samples = number(_COMPRESSION, 1), number(_SAMPLES, 1)
    planes = samples if number(_PLANAR, 1) == 2 else 1
    layout = Layout(width, height, height, 1, planes, (_STRIPS, _STRIP_SIZES), 0, compression)
    if _TILES in tags:
        sides = number(_TILE_WIDTH), number(_TILE_HEIGHT)
        if not all(sides):
            return None
        across = -(-width // sides[0])
        layout = replace(layout, rows=sides[1], across=across, places=(_TILES, _TILE_SIZES))
    elif rows := min(number(_ROWS, height), height):
        layout = replace(layout, rows=rows)
    wanted = layout.down * layout.across * planes
    known = all(name in tags and tags[name].count == wanted for name in layout.places)
    if compression == _OLD_JPEG or not known or not 0 < planes <= _MAX_SAMPLES:
        return None
    return replace(layout, row_bytes=_row_bytes(body, tags, layout, samples))


def _row_bytes(
    body: bytes | bytearray, tags: Mapping[int, Tag], layout: Layout, samples: int
) -> int:
    """Return the bytes of a row of a strip that can be divided; else 0."""
    number = partial(number_of, body, tags)
    if (
        layout.places[0] == _TILES
        or layout.down > 1
        or number(_PHOTOMETRIC) == _YCC
        or number(_FILL_ORDER, 1) != 1
        or _BITS not in tags
        or tags[_BITS].count not in (1, samples)
        or samples > _MAX_SAMPLES
        or (layout.compression != PLAIN and layout.compression not in DEFLATE)
        or (layout.compression in DEFLATE and layout.planes > 1)
    ):
        return 0
    bits = numbers_of(body, tags[_BITS])
    if len(set(bits)) != 1:
        return 0
    return (layout.width * bits[0] * (1 if layout.planes > 1 else samples) + 7) // 8
