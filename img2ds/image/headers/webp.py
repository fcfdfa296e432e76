"""The header of a WebP file (RFC 9649, 2.3 to 2.7)."""

from __future__ import annotations

import struct

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.header import Header, plausible_icc


def read_header(body: bytes | bytearray) -> Header | Failure:
    """Read the first chunk; of the extended format also the metadata chunks."""
    (size,) = struct.unpack_from("<I", body, 4)
    kind = bytes(body[12:16])
    header: Header
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 26)
        header = Header("webp", width & 0x3FFF, height & 0x3FFF)
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", body, 21)
        header = Header("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        header.transparent = bool(bits >> 28 & 1)
    elif kind == b"VP8X":
        flags = body[20]
        width = int.from_bytes(body[24:27], "little") + 1
        height = int.from_bytes(body[27:30], "little") + 1
        header = Header("webp", width, height)
        header.transparent = bool(flags & 0x10)
        header.animated = bool(flags & 0x02)
        if flags & 0x28:
            _read_metadata(body, header)
    else:
        return failure(Reason.DECODE_ERROR, "broken WebP header")
    header.complete = size + 8 <= len(body)
    return header


def _read_metadata(body: bytes | bytearray, header: Header) -> None:
    at = 30
    while at + 8 <= len(body):
        kind, length = struct.unpack_from("<4sI", body, at)
        data = body[at + 8 : at + 8 + length]
        if kind == b"EXIF":
            header.exif = bytes(data).removeprefix(b"Exif\0\0")
        elif kind == b"ICCP":
            header.icc = plausible_icc(bytes(data))
        at += 8 + length + (length & 1)
