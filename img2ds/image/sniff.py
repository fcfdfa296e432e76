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
from img2ds.core.img2dataset_messages import NOT_DECODED
from img2ds.image.header import Header
from img2ds.image.headers import avif, bmp, gif, jpeg, jpeg2000, png, pnm, tiff, webp


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
    "avif": ImageFormat(  # among the brands of its first box (ISO/IEC 14496-12, 4.3)
        re.compile(rb"....ftyp(?:....){0,16}?avi[fs]", re.DOTALL), avif.read_header, "avif", 500_000
    ),
    "bmp": ImageFormat(  # the length of its second header says which one that is
        re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
        bmp.read_header, "bmp", 3_000_000,
    ),
    "tiff": ImageFormat(re.compile(rb"II[*+]\0|MM\0[*+]"), tiff.read_header, "tif", 600_000),
    "jpeg2000": ImageFormat(
        re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
        jpeg2000.read_header, "jp2", 200_000,
    ),
    "pnm": ImageFormat(
        re.compile(rb"P[1-6][ \t-\r](?:[ \t-\r]|#[^\r\n]*[\r\n])*\d"),
        pnm.read_header, "pnm", 10_000_000,
    ),
}  # fmt: skip

#: Bodies that are received instead of images: the name for the error message, and a pattern of the
#: first bytes in lower case, without leading blanks, comments and declarations of XML.
_OTHERS = [
    ("SVG", re.compile(rb"<(?:\w+:)?svg\b")),
    ("HTML", re.compile(rb"<!doctype html|<(?:html|head|script|!--|body)")),
    ("HEIC", re.compile(rb"....ftyp(?:hei|hev|mif|msf)", re.DOTALL)),
    ("video", re.compile(rb"....ftyp", re.DOTALL)),
    ("JPEG XL", re.compile(rb"\xff\x0a|\0\0\0\x0cjxl ")),
    ("BMP", re.compile(rb"bm")),
    ("ICO", re.compile(rb"\0\0[\1\2]\0")),
    ("PDF", re.compile(rb"%pdf")),
    ("JSON", re.compile(rb"[{\[]")),
]
#: Those that are images, in formats that are not read.
_IMAGES = {"SVG", "HEIC", "JPEG XL", "ICO"}
#: Bytes that are looked at for a signature or a description, and what may precede the element of an
#: XML file.
_START = 16_384
_PROLOG = re.compile(
    rb"\s+|<\?.*?\?>|<!--.*?-->|<!doctype svg[^>\[]*(?:\[[^\]]*\]\s*)?>", re.DOTALL
)


def sniff(body: bytes | bytearray) -> Header | Failure:
    """Read the header of an image.

    Returns:
        A failure if the body is not an image (not_an_image), ends within the header
        (truncated_image), or the header is broken (decode_error) or made to exhaust the decoder
        (image_bomb).
    """
    for image_format in FORMATS.values():
        if image_format.signature.match(body, 0, _START):
            try:
                return image_format.read_header(body)
            except (struct.error, IndexError, OverflowError):
                return failure(Reason.TRUNCATED_IMAGE, "image ends in its header")
    name = _describe(body)
    # img2dataset has one message for all of them, which hides how many images are of a format that
    # could be converted.
    known = None if name in _IMAGES else NOT_DECODED
    return failure(Reason.NOT_AN_IMAGE, f"not an image: {name}", known)


def _describe(body: bytes | bytearray) -> str:
    """Describe a body that is not an image."""
    start = bytes(body[:_START]).removeprefix(b"\xef\xbb\xbf").lower()
    at = 0
    while (skipped := _PROLOG.match(start, at)) is not None:
        at = skipped.end()
    for name, pattern in _OTHERS:
        if pattern.match(start, at):
            return name
    return "XML" if start[:at].lstrip().startswith(b"<?xml") else "unknown format"
