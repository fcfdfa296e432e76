"""The header of a BMP (BITMAPFILEHEADER and what follows it)."""

from __future__ import annotations

import struct

from img2ds.image.header import Header

#: Bytes of OS/2's header, which has sides of 16 bits.
_CORE = 12
#: Pixels by masks of bits, of which one may be of alpha.
_BITFIELDS = 3


def read_header(body: bytes | bytearray) -> Header:
    """Read the size. Rows from top to bottom have a negative height."""
    (length,) = struct.unpack_from("<I", body, 14)
    if length == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", body, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<IiHHI", body, 18)
    header = Header("bmp", width, abs(height), palette=bits <= 8)
    header.transparent = bits == 32 and compression == _BITFIELDS
    return header
