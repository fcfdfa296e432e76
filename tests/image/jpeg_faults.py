"""Faults of JPEGs, each a function from a good file to one that lacks nothing of its pixels."""

from __future__ import annotations

import struct
from collections.abc import Callable

from tests.image.jpeg_parts import segment, split

Fault = Callable[[bytes], bytes]

_JFIF, _ADOBE, _EXIF, _ICC = 0xE0, 0xEE, 0xE1, 0xE2
_DQT, _SOF0, _SOF2, _DHT, _SOS = 0xDB, 0xC0, 0xC2, 0xC4, 0xDA


def _is_header(part: bytes) -> bool:
    return part[1] in (_DQT, _SOF0, _SOF2, _DHT, _SOS)


def _with_strays(stray: bytes) -> Fault:
    """Stray bytes before every segment up to the first scan."""

    def spoil(body: bytes) -> bytes:
        parts, scan = split(body), False
        for i, part in enumerate(parts):
            if not scan and _is_header(part):
                parts[i] = stray + part
            scan |= part[1] == _SOS
        return b"".join(parts)

    return spoil


def with_segments(body: bytes, *segments: bytes, without: tuple[int, ...] = ()) -> bytes:
    """The same with further segments in front, and without some of its own."""
    parts = [part for part in split(body)[1:] if part[1] not in without]
    return b"\xff\xd8" + b"".join(segments) + b"".join(parts)


def _adobe(transform: int) -> Fault:
    payload = b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform)
    return lambda body: with_segments(body, segment(_ADOBE, payload), without=(_JFIF, _ADOBE))


def _jfif(payload: bytes) -> Fault:
    return lambda body: with_segments(body, segment(_JFIF, payload), without=(_JFIF,))


def _icc(*chunks: bytes) -> Fault:
    """Chunks that are no profile; the last is after the frame header."""
    made = [segment(_ICC, b"ICC_PROFILE\0" + chunk) for chunk in chunks]

    def spoil(body: bytes) -> bytes:
        return with_segments(body, *made[:-1]).replace(b"\xff\xc4", made[-1] + b"\xff\xc4", 1)

    return spoil


_DATA = bytes(200)

#: In the header. Adobe's transforms are for three components.
HEADER_FAULTS: dict[str, Fault] = {
    "text": _with_strays(b"<br />\n"),
    "zeros": _with_strays(bytes(5)),
    "stuffed": _with_strays(b"\xff\0"),
    "filled": _with_strays(b"\xff\xff\xff"),
    "adobe 2": _adobe(2),
    "adobe 5": _adobe(5),
    "short JFIF": _jfif(b"JFIF\0\1"),
    "empty JFIF": _jfif(b""),
    "JFIF 9": _jfif(b"JFIF\0\x09\1\0\0\1\0\1\0\0"),
    "short EXIF": lambda body: with_segments(body, segment(_EXIF, b"Exif\0\0II")),
    "icc 0 of 0": _icc(b"\0\0" + _DATA),
    "icc without numbers": _icc(b""),
    "icc empty": _icc(b"\1\1"),
    "icc missing": _icc(b"\1\3" + _DATA, b"\3\3" + _DATA),
    "icc twice": _icc(b"\1\2" + _DATA, b"\1\2" + _DATA, b"\2\2" + _DATA),
    "icc all 1": _icc(b"\1\1" + _DATA, b"\1\1" + _DATA),
    "icc of other counts": _icc(b"\1\2" + _DATA, b"\2\3" + _DATA),
}

#: At the end, which begins at the end-of-image marker.
END_FAULTS: dict[str, Fault] = {
    "cut": lambda body: body[:-2],
    "cut by half": lambda body: body[:-1],
    "zeros": lambda body: body[:-2] + bytes(2),
    "many zeros": lambda body: body[:-2] + bytes(5000),
    "ones": lambda body: body[:-2] + b"\xff" * 500,
    "garbage": lambda body: body[:-2] + b"<P",
    "more garbage": lambda body: body[:-2] + b"--boundary--\r\n",
}


def half(body: bytes) -> bytes:
    """Up to the middle of the last scan."""
    parts = split(body)
    data = b"".join(parts[:-1])
    return data[: len(data) - len(parts[-2]) // 2]


#: Files that lack pixels.
HALVES: dict[str, Fault] = {
    "half": half,
    "zeros": lambda body: half(body) + bytes(len(body)),
    "ones": lambda body: half(body) + b"\xff" * len(body),
    "text": lambda body: half(body) + b"Lorem ipsum dolor sit amet. " * (len(body) // 10),
    "zeros and text": lambda body: half(body) + bytes(len(body)) + b"</p>",
    "half and end": lambda body: half(body) + b"\xff\xd9",
    "before the last scan": lambda body: b"".join(split(body)[:-2]),
}
