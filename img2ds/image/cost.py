"""What decoding takes: bytes that are allocated at once besides the body, by the header.

They are charged before anything is decoded. Numbers are bytes a pixel of the full size, unless said
otherwise, and upper bounds: `tests/image/test_cost.py` measures them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from img2ds.image import jpeg, libavif, libtiff, libwebp, webp_bands
from img2ds.image.canvas import LARGE, scale_of
from img2ds.image.header import Header
from img2ds.image.jpeg_components import can_decode
from img2ds.image.png_strips import is_there

#: RGB, which is returned.
_RESULT = 3
#: Pillow's own pixels: grey and palettes, and every other mode.
_PALETTE, _PILLOW = 1, 4
#: OpenCV's pixels and a second image of them, of 8 and 16 bits a sample.
_OPENCV, _OPENCV_WIDE = 8, 14
#: What dav1d has besides its frames, for each image that it decodes.
_DAV1D = 0.6
#: libavif's pixels of Pillow, and Pillow's copy of them.
_AVIF_PILLOW = 9
#: OpenJPEG, a sample; and Pillow, of a tile. And bytes of a code-block.
_SAMPLE_J2K, _BLOCK_J2K = 5.5, 250
#: Groups of Huffman codes that a lossless WebP may have, pixels that share one, and bytes of data
#: that it has at least (RFC 9649, 6.2.2); and bytes that libwebp takes for it. Encoders have few.
_MOST_GROUPS, _BLOCK_WEBP, _CODES, _GROUP = 65_536, 16, 2.5, 7_000
#: OpenCV's indices of a BMP in runs, twice.
_RUNS = 2
#: libjpeg's coefficients, a sample.
_COEFFICIENT = 2
#: Bytes that any decoder may need besides for strips, tables and buffers of files: a pixel, and at
#: most; and of a pixel of a row, which is in memory as a whole some times.
_BESIDES, _MOST_BESIDES, _ROW = 4, 16_000_000, 32
#: The same of a pixel of the rows that are reduced to one.
_REDUCED = 20


@dataclass(slots=True)
class Cost:
    """Bytes that decoding an image takes.

    Attributes:
        least: what it takes; more than is allowed is refused before.
        most: what it takes if the body is damaged or rare, and a general decoder has to do it.
        result: bytes of the pixels that are returned; they are counted in both.
    """

    least: int
    most: int
    result: int


@dataclass(slots=True)
class _Image:
    """What a cost depends on.

    Attributes:
        result: bytes of the pixels that are returned.
    """

    header: Header
    length: int
    scale: int
    pixels: int
    result: int


def decode_cost(header: Header, length: int, min_size: tuple[int, int]) -> Cost:
    """Return what `decode` takes.

    Args:
        length: of the body, in bytes.
        min_size: see `decode`.
    """
    scale = scale_of(header, min_size)
    width, height = header.width, header.height
    pixels = width * height
    result = _RESULT * -(-width // scale) * -(-height // scale)
    least, most = _COSTS[header.format](_Image(header, length, scale, pixels, result))
    besides = min(_BESIDES * pixels, _MOST_BESIDES)
    besides += (_ROW if scale == 1 else _REDUCED * scale) * width
    return Cost(int(least) + besides, int(max(least, most)) + besides, result)


def libjpeg_memory(header: Header, length: int, scale: int) -> int:
    """Return what libjpeg takes: all coefficients of an image of several scans."""
    pixels = header.width * header.height
    each = max(header.channels, _RESULT)
    if header.lossless:  # decoded whole; small ones by Pillow, if they are rare
        shrunk = _RESULT * pixels // scale**2 if scale > 1 else 0
        if pixels > LARGE:
            return each * pixels + shrunk + 2 * length
        return (each + _PILLOW) * pixels + shrunk + 5 * length
    result = each * pixels // scale**2
    stored = _COEFFICIENT * sum(header.planes) if header.passes else 0
    return stored + 5 * length + result


def png_library_memory(header: Header, length: int) -> int:
    """Return what OpenCV or Pillow take for a PNG."""
    each = _PALETTE if header.palette or header.depth < 8 else _OPENCV
    if header.depth == 16:
        each = _OPENCV_WIDE
    return each * header.width * header.height + 4 * length


def tiff_library_memory(header: Header, length: int, divided: bool) -> int:
    """Return what Pillow takes for a TIFF, besides the pixels that are returned.

    Args:
        divided: whether it is decoded piece by piece.
    """
    pixels = header.width * header.height
    if divided and header.piece < pixels:
        return int(_tiff_pixel(header) * header.piece) + header.codec
    return int(_tiff_pixel(header) * pixels) + 3 * length + header.codec


def _tiff_pixel(header: Header) -> float:
    """Return the bytes of Pillow's pixel, and of one of a decoded strip or tile."""
    return _PILLOW + 4 * max(1, header.depth / 8)


def _jpeg(image: _Image) -> tuple[float, float]:
    header, scale = image.header, image.scale
    general = libjpeg_memory(header, image.length, scale)
    inks = header.channels not in (1, _RESULT)
    if not jpeg.is_there() or header.lossless or (inks and not can_decode(header, scale)):
        return general, general
    planes = jpeg.plane_bytes(header, scale)
    working = planes + jpeg.working_bytes(header, image.length, scale)
    return max(working, min(planes, jpeg.CONSUMED) + image.result), general


def _png(image: _Image) -> tuple[float, float]:
    header, length = image.header, image.length
    general = png_library_memory(header, length) + image.result
    if header.palette or header.depth < 8 or not is_there():
        return general, general
    each = 0
    if header.passes and image.scale > 1:
        each = _RESULT
    elif image.pixels <= LARGE and header.transparent:
        each = 1
    return each * image.pixels + image.result + 2 * length, general


def _webp(image: _Image) -> tuple[float, float]:
    header, pixels = image.header, image.pixels
    frame = header.frame or header
    copy = image.length if header.frame else 0
    if frame.width * frame.height <= LARGE or not libwebp.is_there():
        general = (_OPENCV + 1) * pixels + 4 * image.length
        codes = _MOST_GROUPS * _GROUP if header.lossless else 0
        groups = min(codes, _GROUP * pixels // _BLOCK_WEBP, _GROUP * image.length // _CODES)
        return general, general + image.result + groups
    result = image.result * (2 * _RESULT + 1 if header.transparent else _RESULT) // _RESULT
    whole = int(sum(webp_bands.held(header)) * frame.width * frame.height) + result + copy
    if image.scale > 1:
        return whole, whole
    placed = 0 if header.frame is None else image.result
    return max(webp_bands.least_memory(header) + copy, placed + image.result), whole


def _gif(image: _Image) -> tuple[float, float]:
    cost = _PALETTE * image.pixels + image.result + 2 * image.length
    return cost, cost


def _avif(image: _Image) -> tuple[float, float]:
    planes = image.header.planes
    decoders = 1 + image.header.transparent
    held = sum(planes) + _DAV1D * decoders * image.pixels + 2 * image.length
    large = image.pixels > LARGE and libavif.is_there()
    cost = held + image.result + (0 if large else _AVIF_PILLOW * image.pixels)
    return cost, cost


def _bmp(image: _Image) -> tuple[float, float]:
    if image.header.runs:
        besides = image.length + image.result
        return _RUNS * image.pixels + besides, _PILLOW * image.pixels + besides
    large = image.pixels > LARGE and not image.header.piece
    held = 0 if large else _PILLOW * image.pixels + image.length
    return held + image.result, held + image.result


def _tiff(image: _Image) -> tuple[float, float]:
    header = image.header
    general = tiff_library_memory(header, image.length, image.pixels > LARGE) + image.result
    if image.pixels <= LARGE or not header.part or not libtiff.is_there():
        return general, general
    by_rows = _tiff_pixel(header) * header.part + image.length + header.codec + image.result
    return by_rows, general if header.runs else by_rows


def _jpeg2000(image: _Image) -> tuple[float, float]:
    header = image.header
    level = min(image.scale.bit_length() - 1, header.levels)
    samples = header.channels + header.transparent
    held = _PILLOW * image.pixels + _SAMPLE_J2K * samples * header.piece
    blocks = _BLOCK_J2K * header.blocks * header.piece / image.pixels
    cost = held / 4**level + blocks + image.result + 3 * image.length
    return cost, cost


def _pnm(image: _Image) -> tuple[float, float]:
    cost = image.result + image.length  # of plain text without comments
    return cost, cost


#: By formats: what decoding takes, and what a general decoder does.
_COSTS: dict[str, Callable[[_Image], tuple[float, float]]] = {
    "jpeg": _jpeg, "png": _png, "webp": _webp, "gif": _gif, "avif": _avif, "bmp": _bmp,
    "tiff": _tiff, "jpeg2000": _jpeg2000, "pnm": _pnm,
}  # fmt: skip
