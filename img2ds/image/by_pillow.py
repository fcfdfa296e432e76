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

from img2ds.image.decode_error import BROKEN, CUT_SHORT, BombError, DecodeError
from img2ds.image.header import Header
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


def decode_by_pillow(body: bytes | bytearray, header: Header, max_pixels: int) -> Pixels:
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
        raise DecodeError(BROKEN) from None
    except (OSError, EOFError) as error:
        if isinstance(error, EOFError) or "truncated" in str(error).lower():
            raise DecodeError(CUT_SHORT, truncated=True) from None
        raise DecodeError(BROKEN) from None
    except (SyntaxError, ValueError, IndexError, KeyError, TypeError, struct.error,
            OverflowError, MemoryError, RuntimeError) as error:  # fmt: skip
        # Pillow's parsers raise these for malformed files.
        raise DecodeError(f"{BROKEN} ({type(error).__name__})") from None


def _from_pillow(image: Image.Image, header: Header) -> Pixels:
    if image.mode == "CMYK":
        return _by_strips(image, lambda strip: np.asarray(cmyk_to_srgb(strip, header.icc)), 3)
    convert = early_conversion(header)
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
