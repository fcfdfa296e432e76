"""Decode JPEGs by libjpeg-turbo: what the compiled decoder declines."""

from __future__ import annotations

import numpy as np
import simplejpeg
from PIL import Image

from img2ds.image.by_pillow import decode_by_pillow
from img2ds.image.canvas import LARGE, shrink
from img2ds.image.decode_error import BROKEN, CUT_SHORT, DecodeError
from img2ds.image.header import Header
from img2ds.image.headers.jpeg import has_end
from img2ds.image.icc import cmyk_to_srgb
from img2ds.image.orient import Pixels
from img2ds.image.strips import strips

#: The names of simplejpeg for the colours of an image, by its components.
_COLOURS = {1: "GRAY", 3: "RGB", 4: "CMYK"}
_MOST = 255


def decode_by_libjpeg(
    body: bytes | bytearray, header: Header, scale: int, buffer: Pixels | None
) -> Pixels:
    """Decode a plain JPEG by simplejpeg, or else by Pillow.

    Args:
        buffer: memory, uint8 [bytes], to decode into if it fits.

    Raises:
        DecodeError: the body is broken or cut short.
    """
    if header.lossless:  # without a DCT that is scaled
        if scale > 1:
            return shrink(decode_by_libjpeg(body, header, 1, None), scale)
        buffer = None
    width, height = -(-header.width // scale), -(-header.height // scale)
    if header.channels in _COLOURS and header.depth == 8:
        if buffer is not None and header.channels * width * height > len(buffer):
            buffer = None
        size = (0, 0) if scale == 1 else (width, height)  # zeros ask simplejpeg for all pixels
        try:
            pixels = _decode_by_simplejpeg(body, _COLOURS[header.channels], size, buffer)
        except ValueError:
            pass  # such as a subsampling that TurboJPEG does not know
        else:
            if header.channels == 4:
                return without_black(pixels, header)
            return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    if header.lossless and header.width * header.height > LARGE:
        raise DecodeError(BROKEN)  # more memory than is charged
    if not has_end(body):  # Pillow does not tell
        raise DecodeError(CUT_SHORT, truncated=True)
    return decode_by_pillow(body, header, header.width * header.height, scale)


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


def without_black(pixels: Pixels, header: Header) -> Pixels:
    """Convert CMYK [height, width, 4], inverted as Adobe stores it, to RGB in its memory."""
    height, width = pixels.shape[:2]
    result = pixels.reshape(-1)[: 3 * height * width].reshape(height, width, 3)
    for rows in strips(height, width):
        strip = _MOST - pixels[rows]
        size = (width, strip.shape[0])
        inks = Image.frombuffer("CMYK", size, strip, "raw", "CMYK", 0, 1)
        result[rows] = np.asarray(cmyk_to_srgb(inks, header.icc))
    return result
