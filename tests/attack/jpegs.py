"""JPEGs: scans without data, coefficients without scans, segments without an image."""

from __future__ import annotations

import random
import struct

from tests.attack.kind import FILL, SIDE, kind
from tests.image.jpeg_parts import ZEROS, assemble, code, quantisation, segment
from tests.image.test_work import EMPTY_SCAN
from tests.server.encodings import jpeg
from tests.server.photos import photo

_PIXELS = SIDE * SIDE
_BASELINE, _PROGRESSIVE, _LOSSLESS, _ARITHMETIC, _BOTH = 0xC0, 0xC2, 0xC3, 0xC9, 0xCA


def image(side: int, marker: int, *scans: bytes, channels: int = 3) -> bytes:
    """A JPEG of these scans."""
    components = b"".join(bytes([number + 1, 0x11, 0]) for number in range(channels))
    frame = segment(marker, struct.pack(">BHHB", 8, side, side, channels) + components)
    return assemble(quantisation(1), frame, ZEROS, *scans)


def empty(components: bytes, first: int = 0, last: int = 63, shifts: int = 0) -> bytes:
    """A scan without data."""
    tables = b"".join(bytes([number, 0]) for number in components)
    return segment(0xDA, bytes([len(components)]) + tables + bytes([first, last, shifts]))


def zero(components: bytes, side: int, first: int = 0, last: int = 63) -> bytes:
    """A scan of blocks without coefficients: a bit each for the differences and for the rest."""
    blocks = len(components) * (-(-side // 8)) ** 2
    bits = blocks * ((first == 0) + (last > 0))
    return empty(components, first, last) + bytes(bits // 8 + 1)


def _filled(start: bytes, part: bytes, end: bytes = b"") -> bytes:
    return start + part * ((FILL - len(start) - len(end)) // len(part)) + end


@kind("jpeg, baseline, 5M scans of a component", 256, "jpeg")
def repeated_scans() -> bytes:
    return _filled(image(16, _BASELINE, empty(b"\1"))[:-2], EMPTY_SCAN, b"\xff\xd9")


@kind("jpeg, baseline, 9 scans of 88 Mpx", _PIXELS, "jpeg_progressive")
def few_scans() -> bytes:
    scans = [zero(b"\2", SIDE), zero(b"\3", SIDE)] * 4
    return image(SIDE, _BASELINE, zero(b"\1", SIDE), *scans)


@kind("jpeg, scans behind FF 02 FF FF", 256, "jpeg")
def hidden_scans() -> bytes:
    start = image(16, _BASELINE, segment(0xDD, b"\0\1"), empty(b"\1"), b"\xff\2\xff\xff")[:-2]
    return _filled(start, EMPTY_SCAN, b"\xff\xd9")


@kind("jpeg, progressive, 24 scans of nothing of 88 Mpx", _PIXELS, "jpeg_progressive")
def empty_progressive() -> bytes:
    scans = [zero(b"\1", SIDE, 1), zero(b"\2", SIDE, 1)] * 11
    return image(SIDE, _PROGRESSIVE, zero(b"\1\2\3", SIDE, 0, 0), *scans, zero(b"\3", SIDE, 1))


@kind("jpeg, progressive, 24 scans of 50 MB", _PIXELS, "jpeg_progressive")
def noisy_progressive() -> bytes:
    """Refinements whose every bit is a code or a correction."""
    tables = code(0x10, b"\1", b"\0", b"\x11")
    noise = random.Random(2).randbytes(2_000_000).replace(b"\xff", b"\xfe")
    first = [empty(b"\1\2\3", 0, 0, 1), tables]
    first += [empty(bytes([number]), 1, 63, 0x0D) + noise for number in (1, 2, 3)]
    levels = [(high, number) for high in range(13, 6, -1) for number in (1, 2, 3)]
    scans = [empty(bytes([n]), 1, 63, high << 4 | high - 1) + noise for high, n in levels[:20]]
    return image(SIDE, _PROGRESSIVE, *first, *scans)


@kind("jpeg, progressive, 100 scans of 4 Mpx", 2200 * 2200, "jpeg_progressive")
def many_scans() -> bytes:
    scans = [zero(b"\1", 2200, 1), zero(b"\2", 2200, 1)] * 49
    return image(2200, _PROGRESSIVE, zero(b"\1\2\3", 2200, 0, 0), *scans)


@kind("jpeg, arithmetic, 88 Mpx of nothing", _PIXELS, "jpeg")
def arithmetic() -> bytes:
    return image(SIDE, _ARITHMETIC, empty(b"\1\2\3"))


@kind("jpeg, arithmetic, progressive, 24 scans", _PIXELS, "jpeg_progressive")
def arithmetic_progressive() -> bytes:
    scans = [empty(b"\1", 1, 63), empty(b"\2", 1, 63), empty(b"\3", 1, 63)] * 7
    return image(SIDE, _BOTH, empty(b"\1\2\3", 0, 0), *scans)


@kind("jpeg, lossless, 88 Mpx of one colour", _PIXELS, "jpeg_lossless")
def lossless_bits() -> bytes:
    """A bit a sample."""
    data = bytes(3 * _PIXELS // 8 + 1)
    return image(SIDE, _LOSSLESS, empty(b"\1\2\3", 1, 0), data)


@kind("jpeg, CMYK, progressive, 88 Mpx", _PIXELS, "jpeg_cmyk")
def inks() -> bytes:
    scans = [zero(bytes([number]), SIDE, 1) for number in (1, 2, 3, 4)]
    return image(SIDE, _PROGRESSIVE, zero(b"\1\2\3\4", SIDE, 0, 0), *scans, channels=4)


@kind("jpeg, 50 MB of comments")
def comments() -> bytes:
    body = jpeg(photo(5, 48, 32))
    return _filled(body[:2], segment(0xFE, bytes(65_000)), body[2:])


@kind("jpeg, 50 MB of empty comments")
def empty_comments() -> bytes:
    body = jpeg(photo(5, 48, 32))
    return _filled(body[:2], b"\xff\xfe\0\2", body[2:])


@kind("jpeg, 50 MB of fill bytes")
def fill_bytes() -> bytes:
    body = jpeg(photo(5, 48, 32))
    return _filled(body[:2], b"\xff", body[2:])


@kind("jpeg, 50 MB of fill bytes in the scan")
def fill_bytes_in_scan() -> bytes:
    body = jpeg(photo(5, 48, 32))
    return _filled(body[:-2], b"\xff", body[-2:])


@kind("jpeg, 50 MB of restarts")
def restarts() -> bytes:
    body = jpeg(photo(5, 48, 32))
    return _filled(body[:-2], b"\xff\xd0", body[-2:])


@kind("jpeg, 50 MB of scan behind the pixels")
def long_scan() -> bytes:
    body = jpeg(photo(5, 48, 32))
    return _filled(body[:-2], b"\x55", body[-2:])


@kind("jpeg, 50 MB of Huffman tables")
def tables() -> bytes:
    body = jpeg(photo(5, 48, 32))
    many = segment(0xC4, ZEROS[4:] * 1500)
    return _filled(body[:2], many, body[2:])


@kind("jpeg, 50 MB behind the end")
def tail() -> bytes:
    return _filled(jpeg(photo(5, 48, 32)), EMPTY_SCAN)


@kind("jpeg, EXIF of 2,500 long tags")
def exif() -> bytes:
    tags = b"".join(struct.pack("<HHII", tag, 2, 30_000, 30_020) for tag in range(2500))
    block = (b"II*\0\x08\0\0\0" + struct.pack("<H", 2500) + tags + bytes(4)).ljust(64_000, b"A")
    body = jpeg(photo(5, 48, 32))
    return body[:2] + segment(0xE1, b"Exif\0\0" + block) + body[2:]
