"""Image files to pixels: RGB or grey, 8 bits, on white where they are transparent.

Pillow decodes every format. Faster decoders take the kinds they are known to decode right, see
`_DECODERS`: the compiled ones the common JPEGs and PNGs, libjpeg-turbo (simplejpeg) and OpenCV most
others.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
import simplejpeg
from PIL import AvifImagePlugin, Image, UnidentifiedImageError

from img2ds.core.failure import Failure, Reason
from img2ds.image.first_frame import place, plain_gif, plain_webp
from img2ds.image.header import Header
from img2ds.image.headers.jpeg import has_end
from img2ds.image.hidden import plain_avif, plain_tiff
from img2ds.image.icc import Conversion, cmyk_to_srgb, conversion
from img2ds.image.jpeg import decode_rgb, reduction
from img2ds.image.jpeg_end import is_whole, with_end
from img2ds.image.jpeg_plain import plain_jpeg
from img2ds.image.orient import Pixels
from img2ds.image.png import decode_png
from img2ds.image.png_plain import plain_png
from img2ds.image.pnm import decode_pnm
from img2ds.image.strips import flatten, narrow, on_white, strips, swap_colours

# A worker has one core: its codecs must not start threads.
cv2.setNumThreads(1)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
# Errors go to the image's row, not to stderr as well.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# Headers are checked against max_decoded_pixels before an image is opened.
Image.MAX_IMAGE_PIXELS = None

#: Bytes that OpenCV needs to know a WebP.
_SHORTEST_WEBP = 32

_CUT_SHORT = "image is cut short"
_BROKEN = "broken image data"


class DecodeError(Exception):
    """The image cannot be decoded; `truncated` if that is because its end is missing."""

    def __init__(self, message: str, *, truncated: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.truncated = truncated


class BombError(DecodeError):
    """The image has more pixels than its header states."""


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
        raise DecodeError(_CUT_SHORT, truncated=True)
    decoder = _DECODERS.get(header.format)
    if decoder is not None:
        pixels = decoder(_Request(body, header, min_size, max_pixels, buffer, declined))
        if pixels is not None:
            return pixels
    return _decode_by_pillow(body, header, max_pixels)


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
        raise DecodeError(_CUT_SHORT, truncated=True)
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
        raise DecodeError(_CUT_SHORT, truncated=True)
    return _decode_by_pillow(request.body, header, header.width * header.height)


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
                raise DecodeError(_CUT_SHORT, truncated=True) from None
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
        return flatten(pixels, _conversion(header)) if pixels.shape[2] == 4 else pixels
    body = plain_png(request.body, header)
    if isinstance(body, Failure):
        raise DecodeError(body.message, truncated=body.reason == Reason.TRUNCATED_IMAGE)
    # OpenCV ignores tRNS in grey images.
    rare = header.transparent and (header.channels == 1 or header.depth == 16)
    if rare or header.palette or header.depth not in (8, 16):
        return _decode_by_pillow(body, header, request.max_pixels)
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
    return place(_decode_by_pillow(body, header, request.max_pixels), header)


def _decode_avif(request: _Request) -> Pixels:
    body = plain_avif(request.body)
    return _decode_by_pillow(body, request.header, request.max_pixels)


def _decode_tiff(request: _Request) -> Pixels:
    body = plain_tiff(request.body)
    return _decode_by_pillow(body, request.header, request.max_pixels)


def _decode_pnm(request: _Request) -> Pixels:
    try:
        pixels = decode_pnm(request.body)
    except ValueError:
        raise DecodeError(_BROKEN) from None
    if pixels is None:
        raise DecodeError(_CUT_SHORT, truncated=True)
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


def _conversion(header: Header) -> Conversion | None:
    """Return the conversion that comes before white is put behind an image."""
    if header.icc is None or not header.transparent:
        return None
    return conversion(header.icc, header.channels)


def _decode_by_opencv(body: bytes | bytearray, header: Header) -> Pixels:
    try:
        pixels: Pixels | None = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise DecodeError(_BROKEN)
    if pixels.dtype == np.uint16:
        pixels = narrow(pixels)
    if pixels.ndim == 2:
        return pixels
    convert = _conversion(header)
    if pixels.shape[2] == 4:
        return flatten(pixels, convert, reverse=True)
    pixels = swap_colours(pixels)
    return pixels if convert is None else convert(pixels)


def _decode_by_pillow(body: bytes | bytearray, header: Header, max_pixels: int) -> Pixels:
    shown = header.frame or header
    try:
        with Image.open(io.BytesIO(body), formats=[header.format.upper()]) as image:
            if image.width * image.height > max_pixels:
                raise BombError("image has more pixels than its header says")
            if (image.width, image.height) != (shown.width, shown.height):
                raise DecodeError("image of another size than its header states")
            image.load()
            return _from_pillow(image, header)
    except UnidentifiedImageError:
        raise DecodeError(_BROKEN) from None
    except (OSError, EOFError) as error:
        if isinstance(error, EOFError) or "truncated" in str(error).lower():
            raise DecodeError(_CUT_SHORT, truncated=True) from None
        raise DecodeError(_BROKEN) from None
    except (SyntaxError, ValueError, IndexError, KeyError, TypeError, struct.error,
            OverflowError, MemoryError, RuntimeError) as error:  # fmt: skip
        # Pillow's parsers raise these for malformed files.
        raise DecodeError(f"{_BROKEN} ({type(error).__name__})") from None


def _from_pillow(image: Image.Image, header: Header) -> Pixels:
    if image.mode == "CMYK":
        return _by_strips(image, lambda strip: np.asarray(cmyk_to_srgb(strip, header.icc)), 3)
    convert = _conversion(header)
    clear = image.info.get("transparency")
    if image.mode.startswith("I"):  # 16-bit grey
        # Pillow leaves the levels of a TIFF of 12 bits as they are.
        shift = 16 - header.depth if header.format == "tiff" and 8 < header.depth < 16 else 0
        return _by_strips(image, partial(_narrow_grey, clear, convert, shift), 1)
    if header.format == "png" and image.mode == "L" and header.depth < 8 and isinstance(clear, int):
        # Pillow scales the pixels to eight bits, but not the transparent level.
        image.info["transparency"] = clear * 255 // (2**header.depth - 1)
    if clear is not None or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        return _by_strips(
            image, lambda strip: on_white(np.asarray(strip.convert("RGBA")), convert), 3
        )
    if convert is None:
        convert = np.asarray
    if image.mode == "L":
        return convert(np.asarray(image))
    return _by_strips(image, lambda strip: convert(np.asarray(strip.convert("RGB"))), 3)


def _by_strips(
    image: Image.Image, convert: Callable[[Image.Image], Pixels], channels: int
) -> Pixels:
    """Convert an image without a second one of its size."""
    width, height = image.size
    shape = (height, width, channels) if channels > 1 else (height, width)
    pixels = np.empty(shape, np.uint8)
    for rows in strips(height, width):
        pixels[rows] = convert(image.crop((0, rows.start, width, rows.stop)))
    return pixels


def _narrow_grey(
    clear: object, convert: Conversion | None, shift: int, strip: Image.Image
) -> Pixels:
    """Round 16-bit levels to eight bits and convert them; the level `clear` becomes white.

    Args:
        shift: bits that the levels lack.
    """
    wide = np.asarray(strip).astype(np.uint32) << shift
    grey: Pixels = ((wide + 128) // 257).clip(0, 255).astype(np.uint8)
    if convert is not None:
        grey = convert(grey)
    return grey if clear is None else np.where(wide == clear, np.uint8(255), grey)
