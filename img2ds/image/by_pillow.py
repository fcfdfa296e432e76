"""Decode by Pillow: the general decoder, whose errors and modes end here."""

from __future__ import annotations

import io
import logging
import struct
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import AvifImagePlugin, Image, UnidentifiedImageError
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile

from img2ds.image.canvas import Canvas
from img2ds.image.decode_error import BROKEN, CUT_SHORT, BombError, DecodeError
from img2ds.image.header import Frame, Header
from img2ds.image.icc import Conversion, cmyk_to_srgb, early_conversion
from img2ds.image.orient import Pixels
from img2ds.image.strips import on_white, strips

# A worker has one core: its codecs must not start threads.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
# Errors go to the image's row, not to stderr as well.
logging.getLogger("PIL").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# Headers are checked against max_decoded_pixels before an image is opened.
Image.MAX_IMAGE_PIXELS = None

_WHITE = 255


def decode_by_pillow(
    body: bytes | bytearray, header: Header, max_pixels: int, scale: int = 1
) -> Pixels:
    """Decode what Pillow reads.

    Args:
        scale: the divisor of the size: 1, 2, 4 or 8.

    Returns:
        RGB or grey; what the first frame leaves uncovered is white.

    Raises:
        DecodeError: see `decode`.
    """
    shown = header.frame or header
    try:
        with Image.open(io.BytesIO(body), formats=[header.format.upper()]) as image:
            if image.width * image.height > max_pixels:
                raise BombError("image has more pixels than its header says")
            if (image.width, image.height) != (shown.width, shown.height):
                raise DecodeError("image of another size than its header states")
            scale //= _reduce(image, header, scale)
            image.load()
            return _from_pillow(image, header, scale)
    except UnidentifiedImageError:
        raise DecodeError(BROKEN) from None
    except (OSError, EOFError) as error:
        if isinstance(error, EOFError) or "truncated" in str(error).lower():
            raise DecodeError(CUT_SHORT, truncated=True) from None
        raise DecodeError(BROKEN) from None
    except (SyntaxError, ValueError, IndexError, KeyError, TypeError, struct.error,
            OverflowError, MemoryError, RuntimeError) as error:  # fmt: skip
        # Pillow's parsers raise these for malformed files.
        raise DecodeError(f"{BROKEN} ({type(error).__name__})") from None


def _reduce(image: Image.Image, header: Header, scale: int) -> int:
    """Have the library decode at a fraction of the size, if it can. Returns the divisor."""
    if isinstance(image, Jpeg2KImageFile):
        level = min(scale.bit_length() - 1, header.levels)
        image.reduce = level
        # Pillow rounds the sides to the nearest, OpenJPEG rounds them up.
        width, height = (-(-side >> level) << level for side in (header.width, header.height))
        image._size = width, height
        return 1 << level
    if scale > 1 and isinstance(image, JpegImageFile) and not header.lossless:
        image.draft(None, (header.width // scale, header.height // scale))
        return scale
    return 1


def _from_pillow(image: Image.Image, header: Header, scale: int) -> Pixels:
    convert, channels = _conversion(image, header)
    if convert is None and scale == 1 and header.frame is None:
        return np.asarray(image)
    # The first frame lies in a larger image.
    width, height = (header.width, header.height) if header.frame else image.size
    shape = (height, width, channels) if channels > 1 else (height, width)
    canvas = Canvas(shape, scale)
    frame = header.frame or Frame(0, 0, width, height, 0)
    for rows in strips(height, width, scale):
        canvas.put(rows, _strip(image, frame, (rows, width), convert or np.asarray))
    return canvas.pixels


def _strip(
    image: Image.Image,
    frame: Frame,
    place: tuple[slice, int],
    convert: Callable[[Image.Image], Pixels],
) -> Pixels:
    """Return converted pixels of an image that lies in a larger one.

    Args:
        place: rows of the larger one, and its width.
    """
    rows, width = place
    top, bottom = (min(max(row - frame.top, 0), frame.height) for row in (rows.start, rows.stop))
    part = None
    if top < bottom:
        part = convert(image.crop((0, top, frame.width, bottom)))
        if part.shape[:2] == (rows.stop - rows.start, width):
            return part
    channels = part.shape[2:] if part is not None else convert(image.crop((0, 0, 1, 1))).shape[2:]
    strip = np.full((rows.stop - rows.start, width, *channels), _WHITE, np.uint8)
    if part is not None:
        first = frame.top + top - rows.start
        strip[first : first + bottom - top, frame.left : frame.left + frame.width] = part
    return strip


def _conversion(
    image: Image.Image, header: Header
) -> tuple[Callable[[Image.Image], Pixels] | None, int]:
    """Return what converts a part of an image, None if it needs nothing, and its channels."""
    if image.mode == "CMYK":
        return lambda strip: np.asarray(cmyk_to_srgb(strip, header.icc)), 3
    convert = early_conversion(header)
    clear = image.info.get("transparency")
    if image.mode.startswith("I"):  # 16-bit grey
        # Pillow leaves the levels of a TIFF of 12 bits as they are.
        shift = 16 - header.depth if header.format == "tiff" and 8 < header.depth < 16 else 0
        return partial(_narrow_grey, clear, convert, shift), 1
    if header.format == "png" and image.mode == "L" and header.depth < 8 and isinstance(clear, int):
        # Pillow scales the pixels to eight bits, but not the transparent level.
        image.info["transparency"] = clear * 255 // (2**header.depth - 1)
    if clear is not None or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        return lambda strip: on_white(np.asarray(strip.convert("RGBA")), convert), 3
    if image.mode == "L":
        return (None if convert is None else lambda strip: convert(np.asarray(strip))), 1
    if convert is None:
        return lambda strip: np.asarray(strip.convert("RGB")), 3
    return lambda strip: convert(np.asarray(strip.convert("RGB"))), 3


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
