"""WebPs and GIFs: first frames from nothing, and files without one."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.attack.kind import FILL, SIDE, kind
from tests.server.encodings import gif, webp, webp_alpha
from tests.server.photos import photo

_PIXELS = SIDE * SIDE


class _Bits:
    """Bits, the lowest first."""

    def __init__(self) -> None:
        self._value, self._count = 0, 0
        self._data = bytearray()

    def write(self, value: int, count: int) -> None:
        self._value |= value << self._count
        self._count += count
        while self._count >= 8:
            self._data.append(self._value & 255)
            self._value >>= 8
            self._count -= 8

    def bytes(self) -> bytes:
        return bytes(self._data) + bytes([self._value])


def _riff(*chunks: tuple[bytes, bytes]) -> bytes:
    data = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(body)) + body + bytes(len(body) & 1) for kind, body in chunks
    )
    return b"RIFF" + struct.pack("<I", len(data)) + data


def _canvas(side: int) -> bytes:
    return (side - 1).to_bytes(3, "little") * 2


def _vp8l(side: int, *, groups: bool = False) -> bytes:
    """A lossless image whose codes have one symbol: its pixels take no bits (RFC 9649, 3.7.2.1).

    Args:
        groups: with 65,536 groups of codes, each of which is in use. `side` is 1024 then.
    """
    bits = _Bits()
    bits.write(0x2F, 8)
    bits.write(side - 1, 14)
    bits.write(side - 1, 14)
    bits.write(0, 1 + 3 + 1 + 1)  # alpha, version, transforms, cache of colours
    bits.write(groups, 1)
    if groups:
        bits.write(0, 3)  # blocks of 4 x 4 pixels
        bits.write(0, 1)
        _flat(bits, green=True)
        _flat(bits)
        for _ in range(3):
            bits.write(0b1, 4)  # one symbol: 0
        for number in range(65_536):
            bits.write(number, 16)
    for _ in range(65_536 if groups else 1):
        _flat(bits, green=True)
        for _ in range(3):
            _flat(bits)
        bits.write(0b1, 4)
    if groups:
        bits.write(0, side * side % 8)
        return bits.bytes() + bytes(side * side * 4)
    return bits.bytes()


def _flat(bits: _Bits, *, green: bool = False) -> None:
    """A code in which 256 symbols have 8 bits each; green has 24 lengths of copies besides."""
    bits.write(0, 1)
    bits.write(8, 4)  # 12 lengths of code lengths, in the order 17 18 0 1 2 3 4 5 16 6 7 8
    for name in (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8):
        bits.write(name in (18, 8), 3)
    bits.write(0, 1)  # lengths of all symbols
    bits.write(0, 256)  # of 8 bits: the code 0
    if green:
        bits.write(1, 1)
        bits.write(24 - 11, 7)


def _plain(side: int) -> bytes:
    bits = _Bits()
    bits.write(0x2F, 8)
    bits.write(side - 1, 14)
    bits.write(side - 1, 14)
    bits.write(0, 1 + 3 + 1 + 1 + 1)
    for _ in range(5):
        bits.write(0b1, 4)
    return bits.bytes()


def _vp8(side: int) -> bytes:
    """A key frame whose data are zeros (RFC 6386, 9.1)."""
    first = bytes(520_000)
    tag = (len(first) << 5 | 1 << 4).to_bytes(3, "little")
    return tag + b"\x9d\x01\x2a" + struct.pack("<HH", side, side) + first + bytes(2_000_000)


@kind("webp, lossless, 88 Mpx in 40 bytes", _PIXELS, "webp_lossless")
def lossless() -> bytes:
    return _riff((b"VP8L", _plain(SIDE)))


@kind("webp, animated, 88 Mpx in 150 bytes", _PIXELS, "webp_lossless")
def animated() -> bytes:
    frame = bytes(6) + _canvas(SIDE) + bytes(4)
    pixels = _plain(SIDE)
    body = frame + b"VP8L" + struct.pack("<I", len(pixels)) + pixels + bytes(len(pixels) & 1)
    return _riff((b"VP8X", b"\2\0\0\0" + _canvas(SIDE)), (b"ANIM", bytes(6)),
                 (b"ANMF", body), (b"ANMF", body))  # fmt: skip


@kind("webp, lossy, 88 Mpx of nothing", _PIXELS, "webp")
def lossy() -> bytes:
    return _riff((b"VP8 ", _vp8(SIDE)))


@kind("webp, lossy with alpha, 88 Mpx", _PIXELS, "webp_alpha")
def transparent() -> bytes:
    alpha = b"\1" + _plain(SIDE)[5:]  # without signature and size
    return _riff((b"VP8X", b"\x10\0\0\0" + _canvas(SIDE)), (b"ALPH", alpha),
                 (b"VP8 ", _vp8(SIDE)))  # fmt: skip


@kind("webp, 65,536 groups of codes for 1 Mpx", 1024 * 1024, "webp_lossless")
def code_groups() -> bytes:
    return _riff((b"VP8L", _vp8l(1024, groups=True)))


@kind("webp, 65,536 groups of a code for 1 Mpx", 1024 * 1024, "webp_lossless")
def short_code_groups() -> bytes:
    """Of one symbol each: 0.3 MB, of which libwebp builds as many tables."""
    bits = _Bits()
    for value, count in ((0x2F, 8), (1023, 14), (1023, 14), (0, 6), (1, 1), (0, 3), (0, 1)):
        bits.write(value, count)
    _flat(bits, green=True)
    _flat(bits)
    for _ in range(3):
        bits.write(0b1, 4)
    for number in range(65_536):
        bits.write(number, 16)
    for _ in range(5 * 65_536):
        bits.write(0b1, 4)
    return _riff((b"VP8L", bits.bytes()))


@kind("webp, 6M unknown chunks")
def unknown_chunks() -> bytes:
    first = webp_alpha(photo(5, 48, 32))
    chunks = b"XXXX\0\0\0\0" * ((FILL - len(first)) // 8)
    return (
        b"RIFF"
        + struct.pack("<I", len(first) + len(chunks) - 8)
        + first[8:30]
        + chunks
        + first[30:]
    )


@kind("webp, 50 MB behind the image")
def webp_tail() -> bytes:
    return webp(photo(5, 48, 32)) + bytes(FILL)


def _lzw(count: int) -> Iterator[int]:
    """Codes of `count` pixels of colour 0, by strings that grow (GIF89a, appendix F)."""
    while count > 0:
        yield 4
        length, code = 1, 6
        yield 0
        count -= 1
        while code < 4096 and count > 0:
            length = min(length + 1, count)
            yield code
            count -= length
            code += 1
    yield 5


def _lzw_data(count: int) -> bytes:
    bits, width, code = _Bits(), 3, 6
    for symbol in _lzw(count):
        bits.write(symbol, width)
        if symbol == 4:
            width, code = 3, 5
        else:
            code += 1
            if code >= 1 << width and width < 12:
                width += 1
    return _blocks(bits.bytes(), 255)


def _blocks(data: bytes, size: int) -> bytes:
    parts = (data[at : at + size] for at in range(0, len(data), size))
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def _gif(side: int, data: bytes, *, interlaced: bool = False, screen: int = 1) -> bytes:
    frame = struct.pack("<HHHHB", 0, 0, side, side, interlaced << 6)
    return (b"GIF89a" + struct.pack("<HHBBB", screen, screen, 0x80, 0, 0) + bytes(6)
            + b"," + frame + b"\2" + data + b";")  # fmt: skip


@kind("gif, a first frame of 88 Mpx", _PIXELS, "gif")
def large_frame() -> bytes:
    return _gif(SIDE, _lzw_data(_PIXELS))


@kind("gif, an interlaced frame of 88 Mpx", _PIXELS, "gif")
def interlaced_frame() -> bytes:
    return _gif(SIDE, _lzw_data(_PIXELS), interlaced=True)


@kind("gif, a frame of 88 Mpx without data", _PIXELS, "gif")
def frame_without_data() -> bytes:
    return _gif(SIDE, _blocks(b"\x2c", 255))


@kind("gif, a screen of 88 Mpx, a frame of one", _PIXELS, "gif")
def large_screen() -> bytes:
    return _gif(1, _lzw_data(1), screen=SIDE)


@kind("gif, 50 MB of codes that give no pixel", 256, "gif")
def clear_codes() -> bytes:
    data = bytes.fromhex("244992") * (FILL * 255 // 256 // 3)  # codes 4 of 3 bits
    return _gif(16, _blocks(data, 255))


@kind("gif, 25M blocks of a byte", 256, "gif")
def short_blocks() -> bytes:
    return _gif(16, b"\1\x24\1\x49\1\x92" * (FILL // 6) + b"\0")


@kind("gif, comments of 49.5 MB")
def comments() -> bytes:
    body = gif(photo(5, 48, 32))
    end = 13 + 768
    comment = b"!\xfe" + (b"\xff" + b"a" * 255) * 100 + b"\0"
    return body[:end] + comment * ((FILL - len(body)) // len(comment)) + body[end:]


@kind("gif, a comment of 49.5 MB in bytes")
def short_comment() -> bytes:
    body = gif(photo(5, 48, 32))
    end = 13 + 768
    return body[:end] + b"!\xfe" + b"\1a" * ((FILL - len(body)) // 2) + b"\0" + body[end:]


@kind("gif, 16M empty extensions")
def extensions() -> bytes:
    body = gif(photo(5, 48, 32))
    return body[:781] + b"!\1\0" * ((FILL - len(body)) // 3) + body[781:]
