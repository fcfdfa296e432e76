"""The header of a TIFF (TIFF 6.0; BigTIFF): its first page."""

from __future__ import annotations

from functools import partial

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.header import Header, plausible_icc
from img2ds.image.headers.tiff_codecs import codec_memory
from img2ds.image.headers.tiff_layout import read_layout
from img2ds.image.headers.tiff_tags import MAX_TAGS, number_of, numbers_of, read_directory

#: Most strips or tiles, and values of another tag. Pillow has an object of 350 bytes for each; a
#: colour map has three for each of 65,536 levels.
_MAX_STRIPS, _MAX_VALUES = 100_000, 200_000
#: Pixels of a tile that may be larger than its page, which a decoder allocates nonetheless.
_MAX_TILE = 2048 * 2048

# Tags (TIFF 6.0, appendix A; ICC.1, B.4).
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 256, 257, 258, 262, 274, 277
_COMPRESSION, _PACKBITS, _LZMA, _FILL_ORDER = 259, 32773, 34925, 266
_STRIPS, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _EXTRA, _ICC = 273, 322, 323, 324, 338, 34675
#: The tags that pixels are decoded by, some of them of compressions; the rest is hidden from
#: decoders, whose memory they could exhaust.
DECODED = frozenset({
    _WIDTH, _HEIGHT, _BITS, 259, _PHOTOMETRIC, 266, _STRIPS, _SAMPLES, 278, 279, 284, 292, 293,
    317, 320, 321, _TILE_WIDTH, _TILE_HEIGHT, _TILES, 325, 332, _EXTRA, 339, 347,
    *range(512, 522), 529, 530, 531, 532,
})  # fmt: skip

#: Tags with a value for each strip or tile.
_LISTS = frozenset({_STRIPS, 279, _TILES, 325})
_SHORT = DECODED - _LISTS
_GREY, _CMYK = (0, 1), 5


def read_header(body: bytes | bytearray) -> Header | Failure:
    """Read the first page's size and kind, and refuse numbers that a decoder would allocate by."""
    directory = read_directory(body)
    tags = {tag.number: tag for tag in reversed(directory)}  # the first of a number counts

    number = partial(number_of, body, tags)
    if _WIDTH not in tags or _HEIGHT not in tags:
        return failure(Reason.DECODE_ERROR, "TIFF without a size")
    width, height = number(_WIDTH), number(_HEIGHT)
    if number(_COMPRESSION) == _LZMA:  # its window can have any size, and nobody uses it
        return failure(Reason.DECODE_ERROR, "not supported: TIFF compressed by LZMA")
    photometric = number(_PHOTOMETRIC)
    channels = 1 if photometric in _GREY else 4 if photometric == _CMYK else 3
    header = Header("tiff", width, height, channels, number(_BITS, 1))
    header.transparent = number(_EXTRA) in (1, 2)
    header.runs = number(_COMPRESSION) == _PACKBITS
    decoded = sum(tag.size for tag in directory if tag.number in DECODED)
    pieces = sum(tags[name].count for name in (_STRIPS, _TILES) if name in tags)
    values = max((t.count for t in directory if t.number in _SHORT), default=0)
    tile = number(_TILE_WIDTH) * number(_TILE_HEIGHT)
    if (
        len(directory) > MAX_TAGS
        or decoded > len(body)
        or pieces > _MAX_STRIPS
        or values > _MAX_VALUES
        or tile > max(_MAX_TILE, 2 * width * height)
    ):
        return failure(Reason.IMAGE_BOMB, "TIFF of larger parts than its size")
    layout = read_layout(body, tags)
    header.piece = width * height
    if layout is not None:
        header.piece = width * layout.part(divided=bool(layout.row_bytes))
        header.part = width * layout.part(divided=True) if layout.by_rows else 0
        offsets, sizes = (numbers_of(body, tags[name]) for name in layout.places)
        codec = codec_memory(body, number(_COMPRESSION), layout, (offsets, sizes))
        if isinstance(codec, Failure):
            return codec
        # A copy whose bits are in the usual order.
        header.codec = codec + (len(body) if number(_FILL_ORDER) == 2 else 0)
    header.exif = body
    orientation = number(_ORIENTATION)
    header.orientation = orientation if 1 <= orientation <= 8 else 1
    if _ICC in tags:
        profile = tags[_ICC]
        header.icc = plausible_icc(bytes(body[profile.start : profile.start + profile.size]))
    return header
