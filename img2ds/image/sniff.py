"""What a body is, read from its header alone: format, size, and where its metadata lie. Pure.

Nothing is decoded here, so nothing can be made to allocate: a bomb is known by its header.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from img2ds.core.failure import Failure, Reason, failure

#: Longest ICC profile taken notice of, in bytes; printers' have 500 kB.
MAX_ICC = 2_000_000
#: Scans of a JPEG from which on it is a bomb: a scan of a hundred bytes can make the decoder walk
#: over all pixels. Progressive pictures have ten or so; libjpeg-turbo's tools advise such a limit.
MAX_SCANS = 100

#: A marker among entropy-coded data: there FF 00 is a byte, D0 to D7 are restarts (T.81 B.1.1).
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
#: Frames whose scans refine one another, by their markers (T.81 table B.1).
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)


@dataclass(slots=True)
class Header:
    """Sizes in pixels as stored, before any turning.

    `channels` counts colour components, alpha aside; `depth` is in bits. `exif` is the TIFF block
    of the EXIF data. `animated` tells of more than one frame.
    """

    format: str
    width: int
    height: int
    channels: int = 3
    depth: int = 8
    palette: bool = False
    transparent: bool = False
    animated: bool = False
    complete: bool = True
    exif: bytes | None = None
    icc: bytes | None = None


def sniff(body: bytes | bytearray) -> Header | Failure:
    """The header of a JPEG, PNG, WebP or GIF; a failure not_an_image or truncated_image."""
    start = bytes(body[:16])
    try:
        if start[:3] == b"\xff\xd8\xff":
            return _jpeg(body)
        if start[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(body)
        if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
            return _webp(body)
        if start[:6] in (b"GIF87a", b"GIF89a"):
            width, height, flags = struct.unpack_from("<HHB", body, 6)
            colours = 2 << (flags & 7) if flags & 0x80 else 0  # GIF89a 18
            return Header("gif", width, height, palette=True, complete=len(body) > 13 + 3 * colours)
    except (struct.error, IndexError):
        return failure(Reason.TRUNCATED_IMAGE, "image ends in its header")
    return failure(Reason.NOT_AN_IMAGE, f"not an image: {_looks_like(body)}")


def _jpeg(body: bytes | bytearray) -> Header | Failure:
    """Walk the markers up to the first scan (ITU T.81 B.1)."""
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
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        (length,) = struct.unpack_from(">H", body, at)
        if length < 2:
            return failure(Reason.DECODE_ERROR, "broken JPEG header")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            depth, height, width, channels = struct.unpack_from(">BHHB", body, at + 2)
            header = Header("jpeg", width, height, channels, depth)
            progressive = marker in _PROGRESSIVE
        elif marker == 0xE1 and exif is None and body[at + 2 : at + 8] == b"Exif\0\0":
            exif = bytes(body[at + 8 : at + length])
        elif marker == 0xE2 and body[at + 2 : at + 14] == b"ICC_PROFILE\0":
            icc.append((body[at + 14], bytes(body[at + 16 : at + length])))
        elif marker in (0xDA, 0xD9):
            break
        at += length
    if header is None:
        return failure(Reason.DECODE_ERROR, "JPEG without a frame")
    # The first count is quick, and may take what lies behind the picture for scans.
    if progressive and body.count(b"\xff\xda", at - 2) > MAX_SCANS < _scans(body, at - 2):
        return failure(Reason.IMAGE_BOMB, f"JPEG of more than {MAX_SCANS} scans")
    header.exif = exif
    if icc:
        header.icc = _kept(b"".join(part for _, part in sorted(icc)))
    return header


def _scans(body: bytes | bytearray, at: int) -> int:
    """The scans from `at` to the end of the picture, counted up to one too many."""
    scans = 0
    while scans <= MAX_SCANS and (found := _MARKER.search(body, at)) is not None:
        marker = found[1][0]
        if marker == 0xD9:
            break
        scans += marker == 0xDA
        at = found.end()
        if marker != 0x01:
            at += int.from_bytes(body[at : at + 2], "big")
    return scans


def _png(body: bytes | bytearray) -> Header:
    """Walk the chunks up to the pixels (PNG 3rd ed. 5, 11)."""
    width, height, depth, colour = struct.unpack_from(">IIBB", body, 16)
    header = Header("png", width, height, 1 if colour in (0, 4) else 3, depth)
    header.palette = colour == 3
    header.transparent = colour in (4, 6)
    header.complete = body.rfind(b"IEND") > 0
    at = 8
    while at + 8 <= len(body):
        length, kind = struct.unpack_from(">I4s", body, at)
        if kind == b"IDAT":
            break
        if kind == b"tRNS":
            header.transparent = True
        elif kind == b"acTL":
            header.animated = True
        elif kind == b"eXIf":
            header.exif = bytes(body[at + 8 : at + 8 + length])
        elif kind == b"iCCP":
            name, _, packed = bytes(body[at + 8 : at + 8 + length]).partition(b"\0")
            header.icc = _inflated(packed[1:]) if name else None
        at += length + 12
    return header


def _webp(body: bytes | bytearray) -> Header | Failure:
    """RFC 9649 2.3-2.7."""
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
            _webp_metadata(body, header)
    else:
        return failure(Reason.DECODE_ERROR, "broken WebP header")
    header.complete = size + 8 <= len(body)
    return header


def _webp_metadata(body: bytes | bytearray, header: Header) -> None:
    at = 30
    while at + 8 <= len(body):
        kind, length = struct.unpack_from("<4sI", body, at)
        if kind == b"EXIF":
            header.exif = bytes(body[at + 8 : at + 8 + length]).removeprefix(b"Exif\0\0")
        elif kind == b"ICCP":
            header.icc = _kept(bytes(body[at + 8 : at + 8 + length]))
        at += 8 + length + (length & 1)


def _kept(profile: bytes) -> bytes | None:
    return profile if 128 < len(profile) <= MAX_ICC else None


def _inflated(packed: bytes) -> bytes | None:
    try:
        return _kept(zlib.decompressobj().decompress(packed, MAX_ICC))
    except zlib.error:
        return None


def _looks_like(body: bytes | bytearray) -> str:
    """A few words that group the bodies people get instead of pictures."""
    start = bytes(body[:512]).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<script", b"<!--", b"<body")):
        return "HTML"
    if b"<svg" in start:
        return "SVG"
    if start.startswith(b"<?xml"):
        return "XML"
    if start[4:8] == b"ftyp":
        return "AVIF or HEIC" if start[8:12] in (b"avif", b"avis", b"heic", b"mif1") else "video"
    if start[:2] == b"bm":
        return "BMP"
    if start[:4] in (b"ii*\0", b"mm\0*"):
        return "TIFF"
    if start[:4] == b"\0\0\1\0":
        return "ICO"
    if start[:4] == b"%pdf":
        return "PDF"
    if start[:1] in (b"{", b"["):
        return "JSON"
    return "unknown format"
