"""How the pixels of a TIFF's first page are divided: strips, or rows of tiles (TIFF 6.0, 3 and 15).

Each can be decoded without the others, and large ones row by row, so that a page need not be in
memory as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from img2ds.image.headers.tiff_tags import Tag, number_of, numbers_of

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _SAMPLES, _ROWS, _STRIP_SIZES, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES = 322, 323, 324, 325
#: Without compression, a single strip can be divided anywhere.
PLAIN = 1
#: JPEGs of the old kind lie elsewhere than their strips.
_OLD_JPEG, _JPEG, _FAX = 6, 7, frozenset({2, 3, 4, 32771})
#: Compressions that libtiff decodes row by row without a buffer for all rows: none, LZW, Deflate by
#: both numbers, PackBits and Zstandard, besides JPEG and fax.
_BY_ROWS = frozenset({PLAIN, 5, 8, 32946, 32773, 50000, _JPEG}) | _FAX
_YCC = 6
#: Bits of samples whose rows are whole bytes in the order of the file.
_BITS_BY_ROWS = frozenset({1, 2, 4, 8, 16, 32})
#: Returns the first value of a tag, or a default.
Number = Callable[..., int]
#: Most samples of a pixel that any mode has.
_MAX_SAMPLES = 5
#: Pixels of a part of a strip that is divided, and of a strip or a row of tiles from which on it is
#: read row by row: whole, it takes less time.
_PART, _UNDIVIDED = 1 << 20, 1 << 23
#: Most strips or tiles that are read side by side: each has a decoder.
_MOST_READERS = 16
#: Rows that every other unit of division is a multiple of.
GRAIN = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """How a page is divided.

    Attributes:
        rows: of pixels in a strip or tile.
        columns: of pixels in one.
        across: tiles side by side; 1 for strips.
        planes: 1, or the samples of a pixel if they lie apart.
        places: the number of the tag with the offsets, and of the one with the lengths.
        row_bytes: of a strip that can be divided at any row, the length of one; else 0.
        decoded_bytes: of a row of a strip or tile that can be decoded row by row; else 0.
        converted: whether decoding turns YCbCr to RGB: of a JPEG that is decoded row by row.
    """

    width: int
    height: int
    rows: int
    columns: int
    across: int
    planes: int
    places: tuple[int, int]
    row_bytes: int = 0
    decoded_bytes: int = 0
    converted: bool = False

    @property
    def down(self) -> int:
        """How many strips or tiles are one below the other."""
        return -(-self.height // self.rows)

    @property
    def by_rows(self) -> bool:
        """Whether strips or rows of tiles are so large that they are decoded row by row."""
        few = self.across * self.planes <= _MOST_READERS
        return bool(self.decoded_bytes) and few and self.rows * self.width > _UNDIVIDED

    def part(self, *, divided: bool) -> int:
        """Return the rows that are decoded together at least.

        Args:
            divided: whether a strip is.
        """
        if divided:
            return min(self.height, max(1, _PART // self.width // GRAIN) * GRAIN)
        return self.rows


def read_layout(body: bytes | bytearray, tags: Mapping[int, Tag]) -> Layout | None:
    """Return how a page is divided; None if it can be decoded as a whole only."""
    number = partial(number_of, body, tags)
    width, height = number(_WIDTH), number(_HEIGHT)
    if not width or not height:
        return None
    samples = number(_SAMPLES, 1)
    planes = samples if number(_PLANAR, 1) == 2 else 1
    layout = Layout(width, height, height, width, 1, planes, (_STRIPS, _STRIP_SIZES))
    if _TILES in tags:
        columns, rows = number(_TILE_WIDTH), number(_TILE_HEIGHT)
        if not columns or not rows:
            return None
        layout = replace(layout, rows=rows, columns=columns, across=-(-width // columns),
                         places=(_TILES, _TILE_SIZES))  # fmt: skip
    elif rows := min(number(_ROWS, height), height):
        layout = replace(layout, rows=rows)
    wanted = layout.down * layout.across * planes
    known = all(name in tags and tags[name].count == wanted for name in layout.places)
    if number(_COMPRESSION, 1) == _OLD_JPEG or not known or not 0 < planes <= _MAX_SAMPLES:
        return None
    if not 0 < samples <= _MAX_SAMPLES or (_BITS in tags and tags[_BITS].count not in (1, samples)):
        return layout
    bits = set(numbers_of(body, tags.get(_BITS))) or {1}
    return _with_rows(number, layout, bits.pop(), samples) if len(bits) == 1 else layout


def _with_rows(number: Number, layout: Layout, bits: int, samples: int) -> Layout:
    """Add what is known of the rows of strips and tiles."""
    compression, ycc = number(_COMPRESSION, 1), number(_PHOTOMETRIC) == _YCC
    tiled, jpeg = layout.places[0] == _TILES, compression == _JPEG
    pixel = bits * (samples if layout.planes == 1 else 1)
    decoded = -(-layout.columns * pixel // 8)
    if compression == PLAIN and not tiled and layout.down == 1 and number(_FILL_ORDER, 1) == 1:
        return layout if ycc else replace(layout, row_bytes=decoded)
    if (
        compression not in _BY_ROWS
        or bits not in _BITS_BY_ROWS
        or (compression in _FAX and (bits, samples) != (1, 1))
        or (jpeg and (bits != 8 or layout.planes > 1))
        or (tiled and layout.columns * pixel % 8)
    ):
        return layout
    if not ycc or jpeg:
        return replace(layout, decoded_bytes=decoded, converted=ycc)
    return layout
