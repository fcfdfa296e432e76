"""One image in many encodings: what the formats, modes and EXIF orientations of the web are.

Every function takes (height, width, 3) uint8 RGB and returns a file. Where a file has an
orientation, its stored pixels are turned so that it shows upright as given.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

#: The EXIF tag of the orientation (EXIF 2.3, 4.6.4.A).
_ORIENTATION = 0x0112
#: How to turn upright pixels so that a viewer that obeys the orientation undoes it.
_TURNED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(pixels: Pixels, quality: int = 87) -> bytes:
    """Baseline, 4:2:0."""
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality=quality, colorsubsampling="420"
    )
    return data


def jpeg_444(pixels: Pixels) -> bytes:
    """Baseline without chroma subsampling."""
    return _saved(Image.fromarray(pixels), "JPEG", quality=87, subsampling=0)


def jpeg_progressive(pixels: Pixels) -> bytes:
    return _saved(Image.fromarray(pixels), "JPEG", quality=87, progressive=True)


def jpeg_grey(pixels: Pixels) -> bytes:
    return _saved(Image.fromarray(pixels).convert("L"), "JPEG", quality=87)


def jpeg_cmyk(pixels: Pixels) -> bytes:
    """Four inks with Adobe's marker: stored inverted, as Photoshop does."""
    return _saved(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=90)


def cmyk_progressive(pixels: Pixels) -> bytes:
    """The same, progressive."""
    return _saved(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=90, progressive=True)


def jpeg_oriented(pixels: Pixels, orientation: int) -> bytes:
    """With EXIF `orientation` 1-8 and a camera's name."""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    exif[0x010F] = "Sample"
    exif[0x0110] = "Model 1"
    turned = np.ascontiguousarray(_TURNED[orientation](pixels))
    return _saved(Image.fromarray(turned), "JPEG", quality=87, exif=exif)


def png(pixels: Pixels) -> bytes:
    return _saved(Image.fromarray(pixels), "PNG", compress_level=3)


def alpha(pixels: Pixels) -> Pixels:
    """(height, width, 4): opaque in an ellipse, clear at the corners, soft between."""
    height, width = pixels.shape[:2]
    y = np.linspace(-1, 1, height)[:, None]
    x = np.linspace(-1, 1, width)[None, :]
    cover = np.clip((1.25 - np.hypot(x, y)) * 6, 0, 1) * 255
    return np.dstack([pixels, cover.astype(np.uint8)])


def png_rgba(pixels: Pixels) -> bytes:
    return _saved(Image.fromarray(alpha(pixels)), "PNG", compress_level=3)


def png_palette(pixels: Pixels) -> bytes:
    """256 colours."""
    return _saved(Image.fromarray(pixels).quantize(256), "PNG")


def png_grey(pixels: Pixels) -> bytes:
    return _saved(Image.fromarray(pixels).convert("L"), "PNG", compress_level=3)


def png_16bit(pixels: Pixels) -> bytes:
    """RGB with 16 bits a channel; 255 becomes 65535."""
    wide = pixels[:, :, ::-1].astype(np.uint16) * 257
    done, data = cv2.imencode(".png", wide, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise ValueError("OpenCV could not encode a 16-bit PNG")
    return bytes(data)


def png_grey_16bit(pixels: Pixels) -> bytes:
    """Grey with 16 bits; 255 becomes 65535."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257
    return _saved(Image.fromarray(grey), "PNG", compress_level=3)


def webp(pixels: Pixels) -> bytes:
    return _saved(Image.fromarray(pixels), "WEBP", quality=85, method=2)


def webp_lossless(pixels: Pixels) -> bytes:
    return _saved(Image.fromarray(pixels), "WEBP", lossless=True, quality=20, method=0)


def webp_alpha(pixels: Pixels) -> bytes:
    return _saved(Image.fromarray(alpha(pixels)), "WEBP", quality=85, method=2)


def gif(pixels: Pixels) -> bytes:
    """256 colours, one frame."""
    return _saved(Image.fromarray(pixels).quantize(256), "GIF")


def gif_animated(pixels: Pixels) -> bytes:
    """Three frames; the first is the image, the others are darker."""
    frames = [Image.fromarray((pixels * share).astype(np.uint8)).quantize(64)
              for share in (1.0, 0.6, 0.3)]  # fmt: skip
    return _saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)


def avif(pixels: Pixels) -> bytes:
    return _saved(Image.fromarray(pixels), "AVIF", quality=90, subsampling="4:4:4", speed=10)


def avif_alpha(pixels: Pixels) -> bytes:
    return _saved(Image.fromarray(alpha(pixels)), "AVIF", quality=90, speed=10)


def bmp(pixels: Pixels) -> bytes:
    return _saved(Image.fromarray(pixels), "BMP")


def tiff(pixels: Pixels) -> bytes:
    """Compressed by LZW."""
    return _saved(Image.fromarray(pixels), "TIFF", compression="tiff_lzw")


def tiff_alpha(pixels: Pixels) -> bytes:
    """Not compressed."""
    return _saved(Image.fromarray(alpha(pixels)), "TIFF")


def tiff_grey_16bit(pixels: Pixels) -> bytes:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257
    return _saved(Image.fromarray(grey), "TIFF")


def jpeg2000(pixels: Pixels) -> bytes:
    """In the boxes of a JP2, lossless."""
    return _saved(Image.fromarray(pixels), "JPEG2000")


def pnm(pixels: Pixels) -> bytes:
    """A binary PPM."""
    return _saved(Image.fromarray(pixels), "PPM")


#: Every encoding by name; the EXIF orientations as `jpeg_exif_2` to `jpeg_exif_8`.
ENCODINGS: dict[str, Callable[[Pixels], bytes]] = {
    kind.__name__: kind
    for kind in (
        jpeg, jpeg_444, jpeg_progressive, jpeg_grey, jpeg_cmyk, png, png_rgba, png_palette,
        png_grey, png_16bit, png_grey_16bit, webp, webp_lossless, webp_alpha, gif, gif_animated,
        avif, avif_alpha, bmp, tiff, tiff_alpha, tiff_grey_16bit, jpeg2000, pnm,
    )
}  # fmt: skip


def _oriented(orientation: int) -> Callable[[Pixels], bytes]:
    return lambda pixels: jpeg_oriented(pixels, orientation)


ENCODINGS |= {f"jpeg_exif_{number}": _oriented(number) for number in range(2, 9)}

#: Content types by the first word of an encoding's name.
CONTENT_TYPES = {
    "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif",
    "avif": "image/avif", "bmp": "image/bmp", "tiff": "image/tiff", "jpeg2000": "image/jp2",
    "pnm": "image/x-portable-pixmap",
}  # fmt: skip


def content_type(encoding: str) -> str:
    """The media type of a named encoding."""
    return CONTENT_TYPES[encoding.partition("_")[0]]
