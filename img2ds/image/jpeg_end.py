"""JPEGs whose end-of-image marker is missing: whether all their pixels are there.

Decoders make up what is missing, so the file is decoded with other bytes behind it as well: if that
changes no pixel, it needs none.
"""

from __future__ import annotations

import hashlib
import io
import struct

from PIL import Image

from img2ds.image.header import Header
from img2ds.image.headers.jpeg import PROGRESSIVE, SOF, SOS, scan_markers, segments

_EOI = b"\xff\xd9"
#: Bytes that decode to some pixels, without a marker.
_FILLER = bytes((73 * i + 41) % 251 for i in range(64))
#: Most bytes other than 00 and FF where the end should be. More may have replaced pixels.
_MAX_GARBAGE = 64
#: Pixels up to which all of them are compared; of larger images one of each block, by which
#: decoding takes half the time and no memory that counts.
_COMPARED = 1 << 20
#: Pixels a side of a block.
_SIDE = 8
#: Coefficients of a block.
_BLOCK = 64
#: What Pillow raises for broken files.
_BROKEN = (OSError, EOFError, SyntaxError, ValueError, LookupError, TypeError, struct.error)


def with_end(body: bytes) -> bytes:
    """Return the JPEG with an end, in place of zeros or ones that were written over it."""
    body = body.rstrip(b"\xff")
    data = body.rstrip(b"\0")
    # A zero that follows FF is part of the data.
    return data + b"\0" * (data != body) + _EOI


def is_whole(body: bytes, header: Header) -> bool:
    """Return whether all pixels of a JPEG are there.

    Args:
        body: a plain JPEG by `with_end`.
    """
    data = body[: -len(_EOI)]
    size = None
    if header.width * header.height > _COMPARED:
        size = header.width // _SIDE, header.height // _SIDE
    if not _has_all_scans(data) or not _is_sufficient(data, size):
        return False
    shorter = data[:-_MAX_GARBAGE]
    return not (_has_all_scans(shorter) and _is_sufficient(shorter, size))


def _is_sufficient(data: bytes, size: tuple[int, int] | None) -> bool:
    """Return whether the pixels do not depend on what follows."""
    found = _digest(data + _EOI, size)
    return found is not None and found == _digest(data + _FILLER + _EOI, size)


def _digest(body: bytes, size: tuple[int, int] | None) -> bytes | None:
    """Return a hash of all pixels, at a fraction of the size; None if they cannot be decoded."""
    try:
        with Image.open(io.BytesIO(body), formats=["JPEG"]) as image:
            image.draft(None, size)
            return hashlib.sha256(image.tobytes()).digest()
    except _BROKEN:
        return None


def _has_all_scans(data: bytes) -> bool:
    """Return whether there are scans for all bits of all coefficients of a plain JPEG."""
    components: dict[int, list[int]] = {}  # of each coefficient the bits that are missing
    progressive, at = False, 0
    try:
        for marker, start, end in segments(data):
            if marker in SOF:
                progressive = marker in PROGRESSIVE
                ids = data[start + 6 : end : 3]
                components = {number: [1] * (_BLOCK if progressive else 1) for number in ids}
            elif marker == SOS:
                _note_scan(data[start:end], components, progressive)
                at = end
        for marker, start, end in scan_markers(data, at):
            if marker == SOS:
                _note_scan(data[start:end], components, progressive)
    except (LookupError, ValueError):
        return False  # the data end within a header
    return bool(components) and not any(map(any, components.values()))


def _note_scan(scan: bytes, components: dict[int, list[int]], progressive: bool) -> None:
    """Note the coefficients and bits of a scan (T.81, B.2.3)."""
    count = scan[0]
    first, last, shifts = scan[1 + 2 * count : 4 + 2 * count]
    if not progressive:
        first, last, shifts = 0, 0, 0
    for number in scan[1 : 1 + 2 * count : 2]:
        components[number][first : last + 1] = [shifts & 15] * (last + 1 - first)
