"""The header of a GIF (GIF89a, 17 to 23)."""

from __future__ import annotations

import re
import struct

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.header import Frame, Header

#: Bytes of the header and the logical screen descriptor.
START = 13
#: Most blocks of data that are skipped before the first frame: 50 MB of metadata. A stray byte
#: counts as one, and an extension as four.
_MAX_BLOCKS, _EXTENSION_BLOCKS = 200_000, 4

_EXTENSION, _FRAME, _TRAILER = b"!,;"
_GRAPHIC_CONTROL = 0xF9
_BLOCK = re.compile(rb"[!,;]")


def read_header(body: bytes | bytearray) -> Header | Failure:
    """Read the screen and the rectangle of the first frame, which may enlarge it."""
    width, height, flags = struct.unpack_from("<HHB", body, 6)
    at = START + colour_bytes(flags)
    left = _MAX_BLOCKS
    header = Header("gif", width, height, palette=True, complete=False)
    clear: int | None = None
    while (found := _BLOCK.search(body, at, at + max(left, 0))) is not None:  # others are skipped
        left -= found.start() - at + _EXTENSION_BLOCKS
        at = found.start()
        if body[at] == _TRAILER:
            return failure(Reason.DECODE_ERROR, "GIF without a frame")
        if body[at] == _FRAME:
            return _with_frame(header, body, at, clear)
        if body[at + 1] == _GRAPHIC_CONTROL and body[at + 2]:
            clear = body[at + 6] if body[at + 3] & 1 else None
        at += 2
        while body[at]:
            at += 1 + body[at]
            left -= 1
            if left < 0:
                break
        at += 1
    if left <= 0 or at + left < len(body):
        return failure(Reason.DECODE_ERROR, "GIF of too many blocks")
    return header


def colour_bytes(flags: int) -> int:
    """Return the length of the colour table that these flags announce."""
    return 3 * (2 << (flags & 7)) if flags & 0x80 else 0


def _with_frame(header: Header, body: bytes | bytearray, at: int, clear: int | None) -> Header:
    left, top, width, height, flags = struct.unpack_from("<HHHHB", body, at + 1)
    if not header.width or not header.height:  # as browsers do it
        left = top = 0
        header.width, header.height = width, height
    header.frame = Frame(left, top, width, height, at, clear)
    header.width = max(header.width, left + width)
    header.height = max(header.height, top + height)
    header.transparent = clear is not None or not header.frame.covers(header.width, header.height)
    header.complete = len(body) > at + 10 + colour_bytes(flags)
    return header
