"""The header of a GIF (GIF89a, 17 and 18)."""

from __future__ import annotations

import struct

from img2ds.image.header import Header

#: Bytes of the header and the logical screen descriptor.
_START = 13


def read_header(body: bytes | bytearray) -> Header:
    """Read the logical screen descriptor."""
    width, height, flags = struct.unpack_from("<HHB", body, 6)
    colours = 2 << (flags & 7) if flags & 0x80 else 0
    complete = len(body) > _START + 3 * colours
    return Header("gif", width, height, palette=True, complete=complete)
