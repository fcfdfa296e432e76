"""The header of a JPEG (ITU-T T.81, annex B), read as libjpeg reads it (jdmarker.c)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

import numpy as np

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.header import Header, plausible_icc

#: Most scans of a progressive JPEG (the same in `native/_jpeg_image.h`), and pixels that they visit
#: together: a scan of ten bytes makes a decoder visit every block, 0.05 s for 100 megapixels.
#: libjpeg's own scripts have 10 scans, and 18 for CMYK, so every size may have 25.
MAX_SCANS, _SAFE_SCANS, _MAX_VISITS = 100, 25, 500_000_000
#: The same of others, whose components, four at most, have one each (T.81, B.2.3).
_SEQUENTIAL_SCANS = 10
#: Most marker segments before the first scan, and behind it, and bytes between those before it.
_MAX_SEGMENTS, _MAX_STRAY = 10_000, 2_000_000

# Markers (T.81, table B.1).
_TEM, _EOI, SOS = 0x01, 0xD9, 0xDA
#: Lower ones are reserved, but for TEM.
_FIRST = 0xC0
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
#: A scan header, or bytes within a segment that look like one.
_SCAN = re.compile(rb"\xff\xda")
#: Markers within entropy-coded data, where D0 to D7 are restarts (T.81, B.1.1), and a decoder that
#: looks for one skips all below C0, of which none has parameters.
_IN_SCAN = np.array([0xC0 <= byte < 0xFF and not _RST0 <= byte <= _RST7 for byte in range(256)])
#: Bytes of entropy-coded data that are looked at together: they may be full of what is no marker.
_CHUNK = 1 << 20

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
        BrokenHeaderError: a segment has no length, the image starts again, no marker follows, one
            is reserved, or there are too many.
    """
    at, stray = 2, _MAX_STRAY
    for _ in range(_MAX_SEGMENTS):
        if body[at] == 0xFF and 0 < (marker := body[at + 1]) < 0xFF:
            at += 2
        else:
            found = _MARKER.search(body, at, at + stray)
            if found is None:
                if len(body) > at + stray or body[at:].strip(b"\0\xff"):
                    raise BrokenHeaderError  # more than a lost end is filled up with
                raise IndexError("no scan")
            stray -= found.start() - at
            marker, at = found[1][0], found.end()
        if marker < _FIRST or _RST0 <= marker <= _EOI:
            if marker == _TEM or _RST0 <= marker <= _RST7:
                continue
            if marker == _EOI:
                return
            raise BrokenHeaderError
        length = body[at] << 8 | body[at + 1]
        if length < 2:
            raise BrokenHeaderError
        yield marker, at + 2, at + length
        if marker == SOS:
            return
        at += length
    raise BrokenHeaderError


def scan_markers(body: bytes | bytearray, at: int) -> Iterator[Segment]:
    """Yield the marker segments after entropy-coded data at `at`; the end of the image is one.

    No more than _MAX_SEGMENTS.
    """
    data = np.frombuffer(body, np.uint8)
    left, start = _MAX_SEGMENTS, at
    while start + 1 < len(data):
        stop = min(start + _CHUNK, len(data) - 1)
        places = start + np.flatnonzero(data[start:stop] == 0xFF)
        places = places[_IN_SCAN[data[places + 1]]]
        while left and (next_one := int(np.searchsorted(places, at))) < len(places):
            marker, at = body[places[next_one] + 1], int(places[next_one]) + 2
            end = at if marker == _EOI else at + int.from_bytes(body[at : at + 2], "big")
            yield marker, min(at + 2, end), end
            if marker == _EOI:
                return
            left, at = left - 1, end
        if not left:
            return
        start = max(stop, at)


def has_end(body: bytes | bytearray) -> bool:
    """Return whether there is an end-of-image marker behind the first scan."""
    at = max((end for marker, _, end in segments(body) if marker == SOS), default=0)
    return any(marker == _EOI for marker, _, _ in scan_markers(body, at))


def read_header(body: bytes | bytearray) -> Header | Failure:
    """Read the marker segments up to the first scan; count the scans if there may be several."""
    header: Header | None = None
    exif: bytes | None = None
    icc: list[bytes] = []
    channels, progressive = 0, False
    scan, single = 0, True
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
                factors = bytes(body[start + 7 : start + 6 + 3 * channels : 3])
                header.planes = _planes(width, height, factors)
                progressive = marker in PROGRESSIVE
            elif marker == _APP1 and exif is None and body.startswith(_EXIF, start, end):
                exif = bytes(body[start + len(_EXIF) : end])
            elif marker == _APP2 and body.startswith(_ICC, start, end):
                icc.append(bytes(body[start + len(_ICC) : end]))
            elif marker == SOS:
                scan, single = end, not progressive and body[start] == channels
    except BrokenHeaderError:
        return failure(Reason.DECODE_ERROR, "broken JPEG header")
    if header is None or not scan:
        return failure(Reason.DECODE_ERROR, "JPEG without an image")
    header.passes = not single
    if not single:  # libjpeg refuses more scans than one
        most = _most_scans(header) if progressive else _SEQUENTIAL_SCANS
        # The first look is fast, but includes what follows the image.
        found = islice(_SCAN.finditer(body, scan), most - 1, None)
        if next(found, None) is not None and _has_more_scans(body, scan, most):
            return failure(Reason.IMAGE_BOMB, f"JPEG of more than {most} scans")
    header.exif = exif
    header.icc = _join_icc(icc) if icc else None
    return header


def _planes(width: int, height: int, factors: bytes) -> tuple[int, ...]:
    """Return the samples of each component, in whole MCUs (A.2.4).

    Args:
        factors: horizontal and vertical sampling factors of each component, four bits each.
    """
    mcu_width, mcu_height, blocks = _mcu(factors)
    mcus = -(-width // mcu_width) * -(-height // mcu_height)
    return tuple([mcus * samples for samples in blocks])


@lru_cache(maxsize=64)
def _mcu(factors: bytes) -> tuple[int, int, tuple[int, ...]]:
    """Return the width and height of an MCU, and the samples that each component has of it."""
    most_h = max(factors, default=0) >> 4
    most_v = max((f & 15 for f in factors), default=0)
    if not most_h or not most_v:
        return 1, 1, ()
    return 8 * most_h, 8 * most_v, tuple(64 * (f >> 4) * (f & 15) for f in factors)


def _join_icc(chunks: list[bytes]) -> bytes | None:
    """Return the profile of chunks that begin with number and count; None if one is odd.

    Like libjpeg's (jdicc.c): a number that is missing or comes twice discards the profile.
    """
    numbers = sorted(tuple(chunk[:2]) for chunk in chunks)
    if numbers != [(number, len(chunks)) for number in range(1, len(chunks) + 1)]:
        return None
    return plausible_icc(b"".join(chunk[2:] for chunk in sorted(chunks)))


def _most_scans(header: Header) -> int:
    """Return the most scans of a progressive JPEG."""
    visits = _MAX_VISITS // max(1, header.width * header.height)
    return max(_SAFE_SCANS, min(MAX_SCANS, visits))


def _has_more_scans(body: bytes | bytearray, at: int, most: int) -> bool:
    """Return whether there are more scans, counted with the first, whose data begin at `at`.

    Segments without end count as such: what follows them is not read.
    """
    scans = 1
    for number, (marker, _, _) in enumerate(scan_markers(body, at), 1):
        scans += marker == SOS
        if scans > most or number == _MAX_SEGMENTS:
            return True
    return False
