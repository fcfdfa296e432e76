"""The header of a JPEG (ITU-T T.81, annex B), read as libjpeg reads it (jdmarker.c)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.header import Header, plausible_icc

#: Most scans of a progressive JPEG. A scan of a hundred bytes makes a decoder visit every pixel.
#: Encoders write about ten; libjpeg-turbo's documentation advises such a limit. The decoder in
#: `native/_jpeg_image.h` has the same.
MAX_SCANS = 100

# Markers (T.81, table B.1).
_TEM, _SOI, _EOI, SOS = 0x01, 0xD8, 0xD9, 0xDA
_RST0, _RST7 = 0xD0, 0xD7
APP0, _APP1, _APP2 = 0xE0, 0xE1, 0xE2
#: Start of frame, but for 0xC4 (DHT), 0xC8 (JPG) and 0xCC (DAC).
SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = frozenset({0xC2, 0xCA})
_LOSSLESS = 0xC3
#: Frames that libjpeg-turbo cannot decode.
_UNSUPPORTED = {
    0xCB: "lossless JPEG with arithmetic coding",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
}

#: The next marker. Other bytes before it, and FF 00, are skipped by every decoder.
_MARKER = re.compile(rb"\xff([^\x00\xff])")
#: The same within entropy-coded data, where D0 to D7 are restarts (T.81, B.1.1).
_MARKER_IN_SCAN = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")

_LENGTH = struct.Struct(">H")
_EXIF = b"Exif\0\0"
#: Followed by the number of a chunk, from 1, and how many there are (ICC.1:2022, B.4).
_ICC = b"ICC_PROFILE\0"


#: The marker, start and end of a marker segment: its parameters are body[start:end].
Segment = tuple[int, int, int]


class BrokenHeaderError(Exception):
    """No decoder reads a header like this."""


def segments(body: bytes | bytearray) -> Iterator[Segment]:
    """Yield the marker segments up to the first scan header, or to the end of the image.

    Raises:
        IndexError, struct.error: the body ends before a scan.
        BrokenHeaderError: a segment has no length, the image starts again, or no marker follows.
    """
    at = 2
    while True:
        found = _MARKER.search(body, at)
        if found is None:
            if body[at:].strip(b"\0\xff"):  # more than a lost end is filled up with
                raise BrokenHeaderError
            raise IndexError("no scan")
        marker, at = found[1][0], found.end()
        if marker == _TEM or _RST0 <= marker <= _RST7:
            continue
        if marker == _EOI:
            return
        (length,) = _LENGTH.unpack_from(body, at)
        if length < 2 or marker == _SOI:
            raise BrokenHeaderError
        yield marker, at + 2, at + length
        if marker == SOS:
            return
        at += length


def scan_markers(body: bytes | bytearray, at: int) -> Iterator[Segment]:
    """Yield the marker segments after entropy-coded data at `at`; the end of the image is one."""
    while (found := _MARKER_IN_SCAN.search(body, at)) is not None:
        marker, at = found[1][0], found.end()
        if marker == _TEM:
            continue
        end = at if marker == _EOI else at + int.from_bytes(body[at : at + 2], "big")
        yield marker, min(at + 2, end), end
        if marker == _EOI:
            break
        at = end


def has_end(body: bytes | bytearray) -> bool:
    """Return whether there is an end-of-image marker behind the first scan."""
    at = max((end for marker, _, end in segments(body) if marker == SOS), default=0)
    return any(marker == _EOI for marker, _, _ in scan_markers(body, at))


def read_header(body: bytes | bytearray) -> Header | Failure:
    """Read the marker segments up to the first scan; count the scans of a progressive JPEG."""
    header: Header | None = None
    exif: bytes | None = None
    icc: list[bytes] = []
    progressive = False
    scan = 0
    try:
        for marker, start, end in segments(body):
            if marker in SOF:
                if marker in _UNSUPPORTED:
                    return failure(Reason.DECODE_ERROR, f"not supported: {_UNSUPPORTED[marker]}")
                if header is not None:
                    raise BrokenHeaderError
                depth, height, width, channels = struct.unpack_from(">BHHB", body, start)
                header = Header("jpeg", width, height, channels, depth)
                header.lossless = marker == _LOSSLESS
                progressive = marker in PROGRESSIVE
            elif marker == _APP1 and exif is None and body.startswith(_EXIF, start, end):
                exif = bytes(body[start + len(_EXIF) : end])
            elif marker == _APP2 and body.startswith(_ICC, start, end):
                icc.append(bytes(body[start + len(_ICC) : end]))
            elif marker == SOS:
                scan = end
    except BrokenHeaderError:
        return failure(Reason.DECODE_ERROR, "broken JPEG header")
    if header is None or not scan:
        return failure(Reason.DECODE_ERROR, "JPEG without an image")
    # The first count is fast, but includes what follows the image.
    if progressive and body.count(b"\xff\xda", scan) >= MAX_SCANS <= _count_scans(body, scan):
        return failure(Reason.IMAGE_BOMB, f"JPEG of more than {MAX_SCANS} scans")
    header.exif = exif
    header.icc = _join_icc(icc)
    return header


def _join_icc(chunks: list[bytes]) -> bytes | None:
    """Return the profile of chunks that begin with number and count; None if one is odd.

    Like libjpeg's (jdicc.c): a number that is missing or comes twice discards the profile.
    """
    numbers = sorted(tuple(chunk[:2]) for chunk in chunks)
    if not chunks or numbers != [(number, len(chunks)) for number in range(1, len(chunks) + 1)]:
        return None
    return plausible_icc(b"".join(chunk[2:] for chunk in sorted(chunks)))


def _count_scans(body: bytes | bytearray, at: int) -> int:
    """Count the scans after the first, whose data begin at `at`; stop at MAX_SCANS."""
    scans = 0
    for marker, _, _ in scan_markers(body, at):
        scans += marker == SOS
        if scans == MAX_SCANS:
            break
    return scans
