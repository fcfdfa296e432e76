"""The header of a PNM: PBM, PGM or PPM (netpbm's manual pages)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from img2ds.core.failure import Failure, Reason, failure
from img2ds.image.header import Header

_BLANK = rb"(?:[ \t-\r]|#[^\r\n]*[\r\n])*"
_NUMBER = _BLANK + rb"(\d{1,10})"
_BITS = re.compile(rb"P([14])[ \t-\r]" + _NUMBER + _BLANK + rb"[ \t-\r]" + _NUMBER + rb"[ \t-\r]")
_LEVELS = re.compile(rb"P([2356])[ \t-\r]" + _NUMBER + 2 * (rb"[ \t-\r]" + _NUMBER) + rb"[ \t-\r]")
#: Longest header that is read, with comments, in bytes.
_MAX_HEADER = 16_384


@dataclass(frozen=True, slots=True)
class Raster:
    """How the pixels are stored.

    Attributes:
        plain: as text.
        most: the level of white; 1 for bits, of which one is black.
        start: where they begin.
    """

    width: int
    height: int
    channels: int
    plain: bool
    bits: bool
    most: int
    start: int


def read_raster(body: bytes | bytearray) -> Raster | None:
    """Read the header; None if it is broken."""
    found = (_BITS if body[1:2] in b"14" else _LEVELS).match(body, 0, _MAX_HEADER)
    if found is None:
        return None
    kind, width, height, *rest = (int(number) for number in found.groups())
    most = rest[0] if rest else 1
    if not 0 < most <= 0xFFFF:
        return None
    channels = 3 if kind in (3, 6) else 1
    return Raster(width, height, channels, kind <= 3, not rest, most, found.end())


def read_header(body: bytes | bytearray) -> Header | Failure:
    """Read size and depth."""
    raster = read_raster(body)
    if raster is None:
        return failure(Reason.DECODE_ERROR, "broken PNM header")
    return Header(
        "pnm", raster.width, raster.height, raster.channels, 16 if raster.most > 255 else 8
    )
