"""The first frame of a GIF or WebP as a file of its own, and its place in the image.

Libraries allocate by the numbers of all frames, and some fill what the first leaves uncovered with
a colour. Browsers show the page behind it.
"""

from __future__ import annotations

import struct

import numpy as np

from img2ds.image.header import Frame, Header
from img2ds.image.headers import gif, webp
from img2ds.image.orient import Pixels

_WHITE = 255
#: Bytes of an image descriptor (GIF89a, 20).
_DESCRIPTOR = 10


def plain_gif(body: bytes | bytearray, frame: Frame) -> bytes:
    """Return a GIF whose screen is the first frame."""
    view = memoryview(body)
    size = struct.pack("<HH", frame.width, frame.height)
    flags = body[10]
    control = b""
    if frame.clear is not None:
        control = b"!\xf9\4\1\0\0" + bytes([frame.clear, 0])
    return b"".join((
        b"GIF89a", size, bytes([flags, 0, 0]),
        view[gif.START : gif.START + gif.colour_bytes(flags)], control,
        b",\0\0\0\0", size, view[frame.at + _DESCRIPTOR - 1 :],
    ))  # fmt: skip


def plain_webp(body: bytes | bytearray, frame: Frame) -> bytes:
    """Return a WebP of the first frame alone."""
    view = memoryview(body)
    parts: list[bytes | memoryview] = []
    for kind, start, end in webp.chunks(body, frame.at):
        if kind == b"ALPH" and not parts:  # an extended file, with alpha
            canvas = ((side - 1).to_bytes(3, "little") for side in (frame.width, frame.height))
            parts.append(b"VP8X\x0a\0\0\0\x10\0\0\0" + b"".join(canvas))
        if kind in (b"ALPH", b"VP8 ", b"VP8L"):
            parts += (view[start - webp.HEAD : end], bytes((end - start) & 1))
            if kind != b"ALPH":
                break
    size = struct.pack("<I", 4 + sum(map(len, parts)))
    return b"".join([b"RIFF", size, b"WEBP", *parts])


def place(pixels: Pixels, header: Header, scale: int = 1) -> Pixels:
    """Put the pixels of the first frame at their place in the image, which is white.

    Args:
        scale: the divisor of the size that they were decoded at.
    """
    frame = header.frame
    if frame is None or frame.covers(header.width, header.height):
        return pixels
    height, width = (-(-side // scale) for side in (header.height, header.width))
    canvas = np.full((height, width, *pixels.shape[2:]), _WHITE, np.uint8)
    part = canvas[frame.top // scale :, frame.left // scale :]
    rows, columns = (min(sides) for sides in zip(part.shape[:2], pixels.shape[:2], strict=True))
    part[:rows, :columns] = pixels[:rows, :columns]
    return canvas
