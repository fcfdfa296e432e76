"""Image files to pixels: RGB or grey, 8 bits, on white where they are transparent.

Pillow decodes every format. Faster decoders take the kinds they are known to decode right, see
`_DECODERS`: the compiled ones the common JPEGs and PNGs, libjpeg-turbo (simplejpeg) and OpenCV most
others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import simplejpeg

from img2ds.core.failure import Failure, Reason
from img2ds.image.by_pillow import decode_by_pillow
from img2ds.image.decode_error import BROKEN, CUT_SHORT, DecodeError
from img2ds.image.first_frame import place, plain_gif, plain_webp
from img2ds.image.header import Header
from img2ds.image.headers.jpeg import has_end
from img2ds.image.hidden import plain_avif, plain_tiff
from img2ds.image.icc import early_conversion
from img2ds.image.jpeg import decode_rgb, reduction
from img2ds.image.jpeg_end import is_whole, with_end
from img2ds.image.jpeg_plain import plain_jpeg
from img2ds.image.orient import Pixels
from img2ds.image.png import decode_png
from img2ds.image.png_plain import plain_png
from img2ds.image.pnm import decode_pnm
from img2ds.image.strips import flatten, narrow, swap_colours

# A worker has one core: its codecs must not start threads.
cv2.setNumThreads(1)
# Errors go to the image's row, not to stderr as well.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

#: Bytes that OpenCV needs to know a WebP.
_SHORTEST_WEBP = 32


@dataclass(frozen=True, slots=True)
class _Request:
    """What is to be decoded. See `decode` for the attributes."""

    body: bytes | bytearray
    header: Header
    min_size: tuple[int, int]
    max_pixels: int
    buffer: Pixels | None
    declined: bool


def decode(
    body: bytes | bytearray,
    header: Header,
    min_size: tuple[int, int],
    max_pixels: int,
    buffer: Pixels | None = None,
    *,
    declined: bool = False,
) -> Pixels:
    """Decode the first frame.

    Args:
        min_size: the least width and height wanted. JPEGs are decoded at a half, quarter or eighth
            of their size if that is as large. (0, 0) asks for all pixels.
        max_pixels: the most pixels that a frame may have.
        buffer: memory, uint8 [bytes], to decode a JPEG in colour into if it fits. Saves a copy
            where the pixels are wanted elsewhere.
        declined: whether the compiled JPEG decoder has declined this body already. It may find a
            reason at the end of the file only, after all the work.

    Returns:
        Pixels as stored: RGB [height, width, 3], or grey [height, width]. Colours are still those
        of the profile, but for transparent images, which are on white, and for CMYK.

    Raises:
        DecodeError: the body is broken or cut short.
        BombError: a frame is larger than the header states.
    """
    if not header.complete and header.format != "png":  # whose pixels may all be there
        raise DecodeError(CUT_SHORT, truncated=True)
    decoder = _DECODERS.get(header.format)
    if decoder is not None:
        pixels = decoder(_Request(body, header, min_size, max_pixels, buffer, declined))
        if pixels is not None:
            return pixels
    return decode_by_pillow(body, header, max_pixels)


def _decode_jpeg(request: _Request) -> Pixels | None:
    header = request.header
    if header.channels == 3 and not request.declined:
        scale = reduction(header, request.min_size)
        size = 3 * -(-header.width // scale) * -(-header.height // scale)
        fits = request.buffer is not None and size <= len(request.buffer)
        pixels = decode_rgb(request.body, header, scale, request.buffer if fits else None)
        if pixels is not None:
            return pixels
    body = plain_jpeg(request.body, header.channels)
    try:
        return _decode_by_libjpeg(replace(request, body=body))
    except DecodeError as error:
        if not error.truncated or has_end(body):
            raise
    body = with_end(body)
    pixels = _decode_by_libjpeg(replace(request, body=body))
    if not is_whole(body):
        raise DecodeError(CUT_SHORT, truncated=True)
    return pixels


def _decode_by_libjpeg(request: _Request) -> Pixels:
    """Decode a plain JPEG by simplejpeg, which scales, or else by Pillow."""
    header, buffer = request.header, request.buffer
    if header.channels in (1, 3) and header.depth == 8 and not header.lossless:
        scale = reduction(header, request.min_size)
        width, height = -(-header.width // scale), -(-header.height // scale)
        if buffer is not None and 3 * width * height > len(buffer):
            buffer = None
        size = (0, 0) if scale == 1 else (width, height)  # zeros ask simplejpeg for all pixels
        colours = "GRAY" if header.channels == 1 else "RGB"
        try:
            pixels = _decode_by_simplejpeg(request.body, colours, size, buffer)
        except ValueError:
            pass  # such as a subsampling that TurboJPEG does not know
        else:
            return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    if not has_end(request.body):  # Pillow does not tell
        raise DecodeError(CUT_SHORT, truncated=True)
    return decode_by_pillow(request.body, header, header.width * header.height)


def _decode_by_simplejpeg(
    body: bytes | bytearray, colours: str, min_size: tuple[int, int], buffer: Pixels | None
) -> Pixels:
    """Decode what browsers show: libjpeg's warnings are ignored, but for a missing end.

    Raises:
        DecodeError: the end is missing.
        ValueError: TurboJPEG cannot decode it.
    """
    width, height = min_size
    for strict in (True, False):
        try:
            pixels: Pixels = simplejpeg.decode_jpeg(
                body, colours, min_height=height, min_width=width, buffer=buffer, strict=strict
            )
        except ValueError as error:
            # Only the first warning is told.
            if strict and ("premature end" in str(error).lower() or not has_end(body)):
                raise DecodeError(CUT_SHORT, truncated=True) from None
            if not strict:
                raise
        else:
            break
    return pixels


def _decode_png(request: _Request) -> Pixels | None:
    header = request.header
    pixels = decode_png(request.body, header)
    if pixels is not None:
        if pixels.shape[2] == 1:
            return pixels[:, :, 0]
        return flatten(pixels, early_conversion(header)) if pixels.shape[2] == 4 else pixels
    body = plain_png(request.body, header)
    if isinstance(body, Failure):
        raise DecodeError(body.message, truncated=body.reason == Reason.TRUNCATED_IMAGE)
    # OpenCV ignores tRNS in grey images.
    rare = header.transparent and (header.channels == 1 or header.depth == 16)
    if rare or header.palette or header.depth not in (8, 16):
        return decode_by_pillow(body, header, request.max_pixels)
    return _decode_by_opencv(body, header)


def _decode_webp(request: _Request) -> Pixels:
    header, body = request.header, request.body
    if header.frame is not None:
        body = plain_webp(body, header.frame)
    if len(body) < _SHORTEST_WEBP:
        body = bytes(body).ljust(_SHORTEST_WEBP, b"\0")
    return place(_decode_by_opencv(body, header), header)


def _decode_gif(request: _Request) -> Pixels:
    header = request.header
    assert header.frame is not None
    body = plain_gif(request.body, header.frame)
    return place(decode_by_pillow(body, header, request.max_pixels), header)


def _decode_avif(request: _Request) -> Pixels:
    body = plain_avif(request.body)
    return decode_by_pillow(body, request.header, request.max_pixels)


def _decode_tiff(request: _Request) -> Pixels:
    body = plain_tiff(request.body)
    return decode_by_pillow(body, request.header, request.max_pixels)


def _decode_pnm(request: _Request) -> Pixels:
    try:
        pixels = decode_pnm(request.body)
    except ValueError:
        raise DecodeError(BROKEN) from None
    if pixels is None:
        raise DecodeError(CUT_SHORT, truncated=True)
    return pixels


#: Decoders of formats; Pillow has the others. Each returns None for kinds that it declines.
_DECODERS: dict[str, Callable[[_Request], Pixels | None]] = {
    "jpeg": _decode_jpeg,
    "png": _decode_png,
    "webp": _decode_webp,
    "gif": _decode_gif,
    "avif": _decode_avif,
    "tiff": _decode_tiff,
    "pnm": _decode_pnm,
}


def _decode_by_opencv(body: bytes | bytearray, header: Header) -> Pixels:
    try:
        pixels: Pixels | None = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise DecodeError(BROKEN)
    if pixels.dtype == np.uint16:
        pixels = narrow(pixels)
    if pixels.ndim == 2:
        return pixels
    convert = early_conversion(header)
    if pixels.shape[2] == 4:
        return flatten(pixels, convert, reverse=True)
    pixels = swap_colours(pixels)
    return pixels if convert is None else convert(pixels)
