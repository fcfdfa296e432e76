"""Tell the format of a body from its first bytes, and read its header. Pure.

`FORMATS` is the one table of image formats that can be decoded. To add a format: add a header
reader in `headers/`, a row here, and its name to `--image_formats`. Pillow decodes it, unless
`decode` has a faster decoder.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.header import Header
from img2ds.image.headers import gif, jpeg, png, webp


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """An image format that can be decoded.

    Attributes:
        signature: matches the first bytes of a file.
        read_header: see `headers`.
        extension: of files, and the name in `--encode_format`.
        costly_pixels: pixels above which decoding takes more than 20 ms on a core of 2020.
    """

    signature: re.Pattern[bytes]
    read_header: Callable[[bytes | bytearray], Header | Failure]
    extension: str
    costly_pixels: int


#: By the names of `--image_formats`. JPEG takes 6 ms a megapixel (entropy decoding, at any DCT
#: scale), PNG 17, WebP and GIF 14.
FORMATS = {
    "jpeg": ImageFormat(re.compile(rb"\xff\xd8\xff"), jpeg.read_header, "jpg", 3_500_000),
    "png": ImageFormat(re.compile(rb"\x89PNG\r\n\x1a\n"), png.read_header, "png", 1_200_000),
    "webp": ImageFormat(
        re.compile(rb"RIFF....WEBP", re.DOTALL), webp.read_header, "webp", 1_500_000
    ),
    "gif": ImageFormat(re.compile(rb"GIF8[79]a"), gif.read_header, "gif", 1_500_000),
}

#: Bodies that are received instead of images: the name for the error message, and a pattern of the
#: first bytes in lower case, without leading blanks.
_OTHERS = [
    ("HTML", re.compile(rb"<!doctype html|<(?:html|head|script|!--|body)")),
    ("SVG", re.compile(rb".*<svg", re.DOTALL)),
    ("XML", re.compile(rb"<\?xml")),
    ("AVIF or HEIC", re.compile(rb"....ftyp(?:avif|avis|heic|mif1)", re.DOTALL)),
    ("video", re.compile(rb"....ftyp", re.DOTALL)),
    ("BMP", re.compile(rb"bm")),
    ("TIFF", re.compile(rb"ii\*\0|mm\0\*")),
    ("ICO", re.compile(rb"\0\0\x01\0")),
    ("PDF", re.compile(rb"%pdf")),
    ("JSON", re.compile(rb"[{\[]")),
]


def sniff(body: bytes | bytearray) -> Header | Failure:
    """Read the header of an image.

    Returns:
        A failure if the body is not an image (not_an_image), ends within the header
        (truncated_image), or the header is broken (decode_error) or made to exhaust the decoder
        (image_bomb).
    """
    for image_format in FORMATS.values():
        if image_format.signature.match(body):
            try:
                return image_format.read_header(body)
            except (struct.error, IndexError):
                return failure(Reason.TRUNCATED_IMAGE, "image ends in its header")
    return failure(Reason.NOT_AN_IMAGE, f"not an image: {_describe(body)}")


def _describe(body: bytes | bytearray) -> str:
    """Describe a body that is not an image."""
    start = bytes(body[:512]).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for name, pattern in _OTHERS:
        if pattern.match(start):
            return name
    return "unknown format"
