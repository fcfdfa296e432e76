"""AVIFs and TIFFs whose metadata are hidden from the library that decodes them.

It would copy every tag, apply the orientation a second time, or decode an animation. The headers
in `headers/` have read what is used of them.
"""

from __future__ import annotations

import struct

from img2ds.image.headers import avif, tiff
from img2ds.image.headers.tiff_tags import read_directory

_UNKNOWN_ITEM = b"skip"


def plain_avif(body: bytes | bytearray) -> bytes:
    """Return the AVIF as a still image without EXIF data."""
    data = bytearray(body)
    data[8:12] = b"avif"  # the major brand: avis is an animation
    for item in avif.read_items(body, avif.read_meta(body)).values():
        if item.kind == b"Exif":
            data[item.kind_at : item.kind_at + 4] = _UNKNOWN_ITEM
    return bytes(data)


def plain_tiff(body: bytes | bytearray) -> bytes:
    """Return the TIFF with the tags that its pixels need; the others are of an unknown type."""
    data = bytearray(body)
    for tag in read_directory(body):
        if tag.number not in tiff.DECODED:
            struct.pack_into("<H", data, tag.at + 2, 0)
    return bytes(data)
