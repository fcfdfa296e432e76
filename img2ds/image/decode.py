"""Image files to pixels: RGB or grey, 8 bits, on white where they are transparent.

Pillow decodes every format. Faster decoders take the kinds they are known to decode right, see
`_DECODERS`: the compiled ones the common JPEGs and PNGs, libjpeg-turbo (simplejpeg) and OpenCV most
others. Large images are decoded strip by strip, or at a fraction of their size: see `cost`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from img2ds.core.failure import Failure, Reason
from img2ds.image import libavif
from img2ds.image.by_libjpeg import decode_by_libjpeg, without_black
from img2ds.image.by_opencv import decode_by_opencv, decode_indices
from img2ds.image.by_pillow import decode_by_pillow
from img2ds.image.canvas import LARGE, Canvas, scale_of, shrink
from img2ds.image.cost import libjpeg_memory, png_library_memory, tiff_library_memory
from img2ds.image.decode_error import BROKEN, CUT_SHORT, TOO_MUCH_MEMORY, BombError, DecodeError
from img2ds.image.first_frame import plain_gif
from img2ds.image.header import Header
from img2ds.image.headers.bmp import index_runs, rows_of
from img2ds.image.headers.jpeg import has_end
from img2ds.image.hidden import plain_avif, plain_tiff
from img2ds.image.icc import early_conversion
from img2ds.image.jpeg import decode_rgb
from img2ds.image.jpeg_components import can_decode as has_scans
from img2ds.image.jpeg_components import decode_colours
from img2ds.image.jpeg_end import is_whole, with_end
from img2ds.image.jpeg_plain import plain_jpeg
from img2ds.image.orient import Pixels
from img2ds.image.png import decode_png, is_common
from img2ds.image.png_plain import plain_png
from img2ds.image.png_strips import can_decode, decode_strips
from img2ds.image.pnm import decode_pnm
from img2ds.image.strips import bands, flatten, on_white
from img2ds.image.tiff_pieces import pieces
from img2ds.image.webp import decode_webp

#: Most bytes of data that a sample of a JPEG can have in all scans, and that a file has besides.
_MOST_DATA, _SPARE = 8, 1_000_000
#: Bytes of a BMP in runs up to which Pillow reads what OpenCV does not: it takes 0.2 s a megabyte.
_SHORT_RUNS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Request:
    """What is to be decoded. See `decode` for the attributes.

    Attributes:
        scale: the divisor of the size.
    """

    body: bytes | bytearray
    header: Header
    scale: int
    max_pixels: int
    buffer: Pixels | None
    declined: bool
    memory: int | None

    def check(self, memory: int) -> None:
        """Raise BombError if more memory than is allowed would be taken."""
        if self.memory is not None and memory > self.memory:
            raise BombError(TOO_MUCH_MEMORY)


def decode(
    body: bytes | bytearray,
    header: Header,
    min_size: tuple[int, int],
    max_pixels: int,
    buffer: Pixels | None = None,
    *,
    declined: bool = False,
    memory: int | None = None,
) -> Pixels:
    """Decode the first frame.

    Args:
        min_size: the least width and height wanted. JPEGs and large images are decoded at a half,
            quarter or eighth of their size if that is large enough. (0, 0) asks for all pixels.
        max_pixels: the most pixels that a frame may have.
        buffer: memory, uint8 [bytes], to decode a JPEG in colour into if it fits. Saves a copy
            where the pixels are wanted elsewhere.
        declined: whether the compiled JPEG decoder has declined this body already. It may find a
            reason at the end of the file only, after all the work.
        memory: most bytes to allocate; None for any. At least the least of `decode_cost`.

    Returns:
        Pixels as stored: RGB [height, width, 3], or grey [height, width]. Colours are still those
        of the profile, but for transparent images, which are on white, and for CMYK.

    Raises:
        DecodeError: the body is broken or cut short.
        BombError: a frame is larger than the header states, or takes more memory.
    """
    if not header.complete and header.format != "png":  # whose pixels may all be there
        raise DecodeError(CUT_SHORT, truncated=True)
    scale = scale_of(header, min_size)
    request = _Request(body, header, scale, max_pixels, buffer, declined, memory)
    decoder = _DECODERS.get(header.format)
    if decoder is not None:
        return decoder(request)
    return decode_by_pillow(body, header, max_pixels, scale)


def _decode_jpeg(request: _Request) -> Pixels:
    header, scale = request.header, request.scale
    if header.channels == 3 and not request.declined:
        pixels = decode_rgb(request.body, header, scale, request.buffer)
        if pixels is not None:
            return pixels
    if has_scans(header, scale):
        pixels = decode_colours(request.body, header, scale)
        if pixels is not None:
            return without_black(pixels, header) if header.channels == 4 else pixels
    body = plain_jpeg(request.body, header.channels)
    needed = libjpeg_memory(header, len(request.body), scale)
    if not has_end(body):
        body = with_end(body)
        most = _MOST_DATA * sum(header.planes) + _SPARE
        fits = len(body) <= most and (request.memory is None or needed <= request.memory)
        if header.lossless and header.width * header.height > LARGE:
            fits = False  # its pixels are compared at the full size
        if not fits or not is_whole(body, header):
            raise DecodeError(CUT_SHORT, truncated=True)
    request.check(needed)
    return decode_by_libjpeg(body, header, scale, request.buffer)


def _decode_png(request: _Request) -> Pixels:
    header, body, scale = request.header, request.body, request.scale
    common = is_common(body, header) and header.width * header.height <= LARGE
    pixels = None
    if common:
        pixels = decode_png(body, header)
        if pixels is not None:
            if pixels.shape[2] == 1:
                return pixels[:, :, 0]
            return flatten(pixels, early_conversion(header)) if pixels.shape[2] == 4 else pixels
    elif can_decode(body, header):
        pixels = decode_strips(body, header, scale)
        if pixels is not None:
            return pixels
    plain = plain_png(body, header)
    if isinstance(plain, Failure):
        raise DecodeError(plain.message, truncated=plain.reason == Reason.TRUNCATED_IMAGE)
    if can_decode(plain, header):
        pixels = decode_strips(plain, header, scale, trusted=True)
        if pixels is not None:
            return pixels
    request.check(png_library_memory(header, len(body)))
    # OpenCV ignores tRNS in grey images.
    rare = header.transparent and (header.channels == 1 or header.depth == 16)
    if rare or header.palette or header.depth not in (8, 16):
        return decode_by_pillow(plain, header, request.max_pixels, scale)
    return shrink(decode_by_opencv(plain, header), scale)


def _decode_webp(request: _Request) -> Pixels:
    return decode_webp(request.body, request.header, request.scale, request.memory)


def _decode_gif(request: _Request) -> Pixels:
    header = request.header
    assert header.frame is not None
    body = plain_gif(request.body, header.frame)
    return decode_by_pillow(body, header, request.max_pixels, request.scale)


def _decode_avif(request: _Request) -> Pixels:
    header, scale = request.header, request.scale
    body = plain_avif(request.body)
    if header.width * header.height <= LARGE or not libavif.is_there():
        return decode_by_pillow(body, header, request.max_pixels, scale)
    canvas = Canvas((header.height, header.width, 3), scale)
    convert = early_conversion(header)

    def take(rows: slice, strip: Pixels) -> None:
        canvas.put(rows, on_white(strip, convert) if strip.shape[2] == 4 else strip)

    if not libavif.decode_avif(body, header, 4 if header.transparent else 3, take):
        raise DecodeError(BROKEN)
    return canvas.pixels


def _decode_bmp(request: _Request) -> Pixels:
    header, body, scale = request.header, request.body, request.scale
    if header.runs:
        try:
            return _decode_runs(body, header, scale)
        except DecodeError:
            if len(body) > _SHORT_RUNS:
                raise
    if header.width * header.height <= LARGE or header.piece:
        return decode_by_pillow(body, header, request.max_pixels, scale)
    canvas: Canvas | None = None
    for rows in bands(header.height, header.width, scale):
        part = rows_of(body, header.height, rows)
        canvas = _put_part(request, canvas, rows, part)
    assert canvas is not None
    return canvas.pixels


def _decode_runs(body: bytes | bytearray, header: Header, scale: int) -> Pixels:
    """Decode indices, which take a third of the memory that colours do."""
    plain, colours = index_runs(body)
    palette = np.zeros((256, 3), np.uint8)
    known = np.frombuffer(colours, np.uint8).reshape(-1, 4)
    palette[: len(known)] = known[:, 2::-1]
    indices = decode_indices(plain)
    canvas = Canvas((header.height, header.width, 3), scale)
    for rows in bands(header.height, header.width, scale):
        canvas.put(rows, palette.take(indices[rows], 0, mode="clip"))
    return canvas.pixels


def _decode_tiff(request: _Request) -> Pixels:
    header, scale = request.header, request.scale
    canvas: Canvas | None = None
    if header.width * header.height > LARGE:
        try:
            for rows, part in pieces(request.body, scale) or ():
                canvas = _put_part(request, canvas, rows, part)
        except DecodeError:
            if not (header.runs and header.part):
                raise
            # Runs that continue in the next row, which TIFF forbids, are decoded as a whole only.
            request.check(tiff_library_memory(header, len(request.body), divided=False))
            canvas = None
    if canvas is None:
        body = plain_tiff(request.body)
        return decode_by_pillow(body, header, request.max_pixels, scale)
    return canvas.pixels


def _put_part(request: _Request, canvas: Canvas | None, rows: slice, part: bytes) -> Canvas:
    """Decode some rows of an image, which are a file of their own, and put them on a canvas."""
    header = request.header
    own = replace(header, height=rows.stop - rows.start, piece=0)
    pixels = decode_by_pillow(part, own, request.max_pixels)
    if canvas is None:
        shape = (header.height, header.width, *pixels.shape[2:])
        canvas = Canvas(shape, request.scale)
    canvas.put(rows, pixels)
    return canvas


def _decode_pnm(request: _Request) -> Pixels:
    try:
        pixels = decode_pnm(request.body, request.scale)
    except ValueError:
        raise DecodeError(BROKEN) from None
    if pixels is None:
        raise DecodeError(CUT_SHORT, truncated=True)
    return pixels


#: Decoders of formats; Pillow has the others.
_DECODERS: dict[str, Callable[[_Request], Pixels]] = {
    "jpeg": _decode_jpeg,
    "png": _decode_png,
    "webp": _decode_webp,
    "gif": _decode_gif,
    "avif": _decode_avif,
    "bmp": _decode_bmp,
    "tiff": _decode_tiff,
    "pnm": _decode_pnm,
}
