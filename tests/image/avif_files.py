"""AVIF files put together by hand: what encoders do not write."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from tests.image.reference import Pixels


def box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return struct.pack(">I", 8 + len(data)) + kind + data


def full_box(kind: bytes, *content: bytes, version: int = 0) -> bytes:
    return box(kind, bytes([version, 0, 0, 0]), *content)


def coded(pixels: Pixels) -> tuple[bytes, bytes]:
    """Return the AV1 data of an image, and the box `av1C` of its configuration."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "AVIF", quality=100, speed=10)
    body = file.getvalue()
    at = body.index(b"av1C") - 4
    return body[body.index(b"mdat") + 4 :], body[at : at + 12]


def still(
    size: tuple[int, int],
    items: list[tuple[bytes, bytes]],
    config: bytes,
    *,
    tile: tuple[int, int] | None = None,
    extents: list[tuple[int, int]] | None = None,
    more: tuple[bytes, ...] = (),
    brands: bytes = b"avif\0\0\0\0avifmif1",
) -> bytes:
    """Return a file of items, kind and data, of which the first is the image.

    Args:
        size: of the image; `tile` of the others, which the first is made of.
        extents: of the first item, if they are not its data.
        more: further properties of the image.
    """
    numbers = range(1, len(items) + 1)
    infe = [full_box(b"infe", struct.pack(">HH", number, 0), kind, b"\0", version=2)
            for number, (kind, _) in zip(numbers, items, strict=True)]  # fmt: skip
    iinf = full_box(b"iinf", struct.pack(">H", len(items)), *infe)
    properties = [full_box(b"ispe", struct.pack(">II", *size)),
                  full_box(b"ispe", struct.pack(">II", *(tile or size))), config,
                  full_box(b"pixi", b"\3\x08\x08\x08"), *more]  # fmt: skip
    first = bytes([1, 0x83, 4, *range(0x85, 0x85 + len(more))])
    places = [first] + [bytes([2, 0x83, 4])] * (len(items) - 1)
    ipma = b"".join(struct.pack(">HB", number, len(place)) + place
                    for number, place in zip(numbers, places, strict=True))  # fmt: skip
    iprp = box(b"iprp", box(b"ipco", *properties),
               full_box(b"ipma", struct.pack(">I", len(items)), ipma))  # fmt: skip
    iref = b""
    if len(items) > 1:
        refs = struct.pack(f">HH{len(items) - 1}H", 1, len(items) - 1, *numbers[1:])
        iref = full_box(b"iref", box(b"dimg", refs))
    head = box(b"ftyp", brands)

    def whole(start: int) -> bytes:
        iloc = struct.pack(">BBH", 0x44, 0, len(items))
        for number, (_, data) in zip(numbers, items, strict=True):
            parts = extents if number == 1 and extents else [(start, len(data))]
            iloc += struct.pack(">HHH", number, 0, len(parts))
            iloc += b"".join(struct.pack(">II", *part) for part in parts)
            start += len(data)
        handler, primary = (
            full_box(b"hdlr", bytes(4), b"pict", bytes(13)),
            full_box(b"pitm", b"\0\1"),
        )
        meta = full_box(b"meta", handler, primary, full_box(b"iloc", iloc), iinf, iref, iprp)
        return head + meta + box(b"mdat", *(data for _, data in items))

    return whole(whole(0).index(b"mdat") + 4)
