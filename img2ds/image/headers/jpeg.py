"""The header of a JPEG (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
import struct

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.header import Header, plausible_icc

#: Most scans of a progressive JPEG. A scan of a hundred bytes makes a decoder visit every pixel.
#: Encoders write about ten; libjpeg-turbo's documentation advises such a limit. The decoder in
#: `native/_jpeg_image.h` has the same.
MAX_SCANS = 100

# Markers (T.81, table B.1).
_TEM, _SOI, _EOI, _SOS = 0x01, 0xD8, 0xD9, 0xDA
_RST0 = 0xD0
_APP1, _APP2 = 0xE1, 0xE2
#: Start of frame, but for 0xC4 (DHT), 0xC8 (JPG) and 0xCC (DAC).
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_LOSSLESS = 0xC3
#: Frames that libjpeg-turbo cannot decode.
_UNSUPPORTED = {
    0xCB: "lossless JPEG with arithmetic coding",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
}

#: A marker within entropy-coded data, where FF 00 is a stuffed byte and D0 to D7 are restarts
#: (T.81, B.1.1).
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")


def read_header(body: bytes | bytearray) -> Header | Failure:
    """Read the marker segments up to the first scan; count the scans of a progressive JPEG."""
    header: Header | None = None
    exif: bytes | None = None
    icc: list[tuple[int, bytes]] = []
    progressive = False
    at = 2
    while True:
        if body[at] != 0xFF:
            return failure(Reason.DECODE_ERROR, "broken JPEG header")
        while body[at] == 0xFF:
            at += 1
        marker = body[at]
        at += 1
        if marker == _TEM or _RST0 <= marker <= _SOI:
            continue
        (length,) = struct.unpack_from(">H", body, at)
        if length < 2:
            return failure(Reason.DECODE_ERROR, "broken JPEG header")
        if marker in _UNSUPPORTED:
            return failure(Reason.DECODE_ERROR, f"not supported: {_UNSUPPORTED[marker]}")
        if marker in _SOF:
            depth, height, width, channels = struct.unpack_from(">BHHB", body, at + 2)
            header = Header("jpeg", width, height, channels, depth)
            header.lossless = marker == _LOSSLESS
            progressive = marker in _PROGRESSIVE
        elif marker == _APP1 and exif is None and body[at + 2 : at + 8] == b"Exif\0\0":
            exif = bytes(body[at + 8 : at + length])
        elif marker == _APP2 and body[at + 2 : at + 14] == b"ICC_PROFILE\0":
            icc.append((body[at + 14], bytes(body[at + 16 : at + length])))
        elif marker in (_SOS, _EOI):
            break
        at += length
    if header is None:
        return failure(Reason.DECODE_ERROR, "JPEG without a frame")
    # The first count is fast, but includes what follows the image.
    scans = at - 2
    if progressive and body.count(b"\xff\xda", scans) > MAX_SCANS < _count_scans(body, scans):
        return failure(Reason.IMAGE_BOMB, f"JPEG of more than {MAX_SCANS} scans")
    header.exif = exif
    if icc:
        header.icc = plausible_icc(b"".join(segment for _, segment in sorted(icc)))
    return header


def _count_scans(body: bytes | bytearray, at: int) -> int:
    """Count the scans from `at` to the end of the image; stop above MAX_SCANS."""
    scans = 0
    while scans <= MAX_SCANS and (found := _MARKER.search(body, at)) is not None:
        marker = found[1][0]
        if marker == _EOI:
            break
        scans += marker == _SOS
        at = found.end()
        if marker != _TEM:
            at += int.from_bytes(body[at : at + 2], "big")
    return scans
