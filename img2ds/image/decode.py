"""Bodies to pixels: RGB or grey, 8 bits, on white where they are transparent.

Decoders of our own take the common JPEGs and PNGs; simplejpeg and OpenCV what they decode right
and fast; Pillow the rest.
"""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from img2ds.image.icc import cmyk_to_srgb
from img2ds.image.jpeg import decode_rgb, reduction
from img2ds.image.orient import Pixels
from img2ds.image.png import decode_png
from img2ds.image.sniff import Header

# A worker is one core's share: its codecs must not start threads of their own.
cv2.setNumThreads(1)
# What is wrong with a picture is said in its row, not in a line on stderr as well.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# Headers are checked against max_decoded_pixels before anything is opened.
Image.MAX_IMAGE_PIXELS = None


class DecodeError(Exception):
    """The pixels cannot be had; `truncated` when that is because the end is missing."""

    def __init__(self, message: str, *, truncated: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.truncated = truncated


class BombError(DecodeError):
    """The body unpacks to more pixels than its header admitted."""


def decode(
    body: bytes | bytearray,
    header: Header,
    least: tuple[int, int],
    max_pixels: int,
    buffer: Pixels | None = None,
    *,
    declined: bool = False,
) -> Pixels:
    """Pixels [height, width, 3] in RGB or [height, width] in grey, as stored.

    Args:
        least: width and height that are enough; JPEGs are decoded at a fraction of their size
            (eighths of the DCT) when that is still as large. (0, 0) asks for all pixels.
        max_pixels: a frame with more is not opened.
        buffer: memory, uint8 [bytes], that the pixels of a JPEG in colour may be put into where
            they fit: what is found in another place anyway need not be copied there.
        declined: whether our own decoder of JPEGs was asked already and had rather not: what it
            finds at the end of a file need not be found twice.

    Raises:
        DecodeError: the body is broken or cut short.
        BombError: a frame is larger than the header said.
    """
    if not header.complete:
        raise DecodeError("image is cut short", truncated=True)
    if header.format == "jpeg" and header.channels in (1, 3) and header.depth == 8:
        return _jpeg(body, header, least, max_pixels, buffer, declined)
    if header.format == "png" and (pixels := decode_png(body, header)) is not None:
        return _flat(pixels)
    if _is_plain(header):
        return _opencv(body)
    return _pillow(body, header, max_pixels)


def _flat(pixels: Pixels) -> Pixels:
    """[height, width, channels] of any kind as RGB, or grey without its third dimension."""
    if pixels.shape[2] == 1:
        return pixels[:, :, 0]
    return _on_white(pixels) if pixels.shape[2] == 4 else pixels


def _is_plain(header: Header) -> bool:
    """What OpenCV is known to decode as the format's standard has it."""
    if header.animated or header.palette:
        return False
    if header.format == "png":
        if header.transparent and (header.channels == 1 or header.depth == 16):
            return False  # OpenCV takes no notice of tRNS in grey
        return header.depth in (8, 16)
    return header.format == "webp"


def _jpeg(
    body: bytes | bytearray,
    header: Header,
    least: tuple[int, int],
    max_pixels: int,
    buffer: Pixels | None,
    declined: bool,
) -> Pixels:
    colours = "GRAY" if header.channels == 1 else "RGB"
    scale = reduction(header, least)
    width, height = -(-header.width // scale), -(-header.height // scale)
    if buffer is not None and 3 * width * height > len(buffer):
        buffer = None
    if header.channels == 3 and not declined:
        quick = decode_rgb(body, header, scale, buffer)
        if quick is not None:
            return quick
    if scale == 1:
        width = height = 0  # simplejpeg's word for all of it
    try:
        pixels = simplejpeg.decode_jpeg(
            body, colours, min_height=height, min_width=width, buffer=buffer
        )
    except ValueError as error:
        words = str(error).lower()
        if "premature end" in words:
            raise DecodeError("image is cut short", truncated=True) from None
        # Anything else libjpeg recovers from, such as stray bytes between markers, browsers show.
        try:
            pixels = simplejpeg.decode_jpeg(
                body,
                colours,
                min_height=height,
                min_width=width,
                buffer=buffer,
                strict=False,
            )
        except ValueError as error:
            if "subsampling" in str(error):  # one that TurboJPEG has no name for
                return _pillow(body, header, max_pixels)
            raise DecodeError("broken JPEG") from None
    found: Pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    return found


def _opencv(body: bytes | bytearray) -> Pixels:
    try:
        pixels: Pixels | None = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise DecodeError("broken image data")
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] == 4:
        return _on_white(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA))
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _pillow(body: bytes | bytearray, header: Header, max_pixels: int) -> Pixels:
    try:
        with Image.open(io.BytesIO(body), formats=[header.format.upper()]) as image:
            if image.width * image.height > max_pixels:
                raise BombError("image has more pixels than its header says")
            image.load()
            return _from_pillow(image, header)
    except (OSError, EOFError) as error:
        if isinstance(error, UnidentifiedImageError):
            raise DecodeError("broken image data") from None
        truncated = "truncated" in str(error).lower() or isinstance(error, EOFError)
        words = "image is cut short" if truncated else "broken image data"
        raise DecodeError(words, truncated=truncated) from None
    except (SyntaxError, ValueError, IndexError, KeyError, TypeError, struct.error,
            OverflowError, MemoryError) as error:  # fmt: skip
        # Pillow's parsers raise these for malformed files.
        raise DecodeError(f"broken image data ({type(error).__name__})") from None


def _from_pillow(image: Image.Image, header: Header) -> Pixels:
    if image.mode == "CMYK":
        return np.asarray(cmyk_to_srgb(image, header.icc))
    if image.mode.startswith("I"):  # 16-bit grey
        wide = np.asarray(image).astype(np.uint32)
        grey = ((wide + 128) // 257).clip(0, 255).astype(np.uint8)
        if "transparency" in image.info:
            grey = np.where(wide == image.info["transparency"], np.uint8(255), grey)
        return grey
    if header.format == "png" and image.mode == "L" and header.depth < 8:
        # Pillow spreads the pixels over eight bits and leaves the transparent level as it was.
        level = image.info.get("transparency")
        if isinstance(level, int):
            image.info["transparency"] = level * 255 // (2**header.depth - 1)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        return _on_white(np.asarray(image.convert("RGBA")))
    if image.mode == "L":
        return np.asarray(image)
    return np.asarray(image.convert("RGB"))


def _on_white(pixels: Pixels) -> Pixels:
    """RGBA [height, width, 4] over white, rounded."""
    alpha = pixels[:, :, 3]
    if alpha.min() == 255:
        return np.ascontiguousarray(pixels[:, :, :3])
    weight = alpha[:, :, np.newaxis].astype(np.uint16)
    mixed = pixels[:, :, :3] * weight + np.uint16(255) * (255 - weight)
    rounded: Pixels = ((mixed + np.uint16(127)) // np.uint16(255)).astype(np.uint8)
    return rounded
