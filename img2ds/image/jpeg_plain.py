"""JPEGs without what their pixels do not need, so that nothing else can lose them.

Libraries stumble over stray bytes, over metadata that is malformed (chunks of ICC profiles, a short
JFIF header, EXIF), and over a transform that Adobe has not defined. None of it is left here;
`headers/jpeg.py` has read what is used of it.
"""

from __future__ import annotations

from img2ds.image.headers.jpeg import APP0, SOS, segments

_SOI, _APP14, _APP15, _COM = b"\xff\xd8", 0xEE, 0xEF, 0xFE
#: JFIF 1.01 without a density.
_JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
#: Adobe's segment up to the transform (Adobe Technical Note 5116, 18).
_ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
#: Bytes that libjpeg wants of the parameters of both.
_JFIF_LENGTH, _ADOBE_LENGTH = 14, 12


def plain_jpeg(body: bytes | bytearray, channels: int) -> bytes:
    """Return the JPEG with the marker segments that decoding needs, and no bytes between them.

    Args:
        body: one whose header `headers.jpeg` accepts.
        channels: of its frame.
    """
    view = memoryview(body)
    parts: list[bytes | memoryview] = [_SOI]
    for marker, start, end in segments(body):
        if marker == APP0:
            if end - start >= _JFIF_LENGTH and body.startswith(b"JFIF\0", start):
                parts.append(_JFIF)
        elif marker == _APP14:
            if end - start >= _ADOBE_LENGTH and body.startswith(b"Adobe", start):
                parts += (_ADOBE, bytes([_transform(body[start + 11], channels)]))
        elif not APP0 < marker <= _APP15 and marker != _COM:
            # A scan is followed by all the rest.
            parts.append(view[start - 4 : None if marker == SOS else end])
    return b"".join(parts)


def _transform(stated: int, channels: int) -> int:
    """Return the transform that decoders assume: 0 is none, all else YCbCr or YCCK."""
    return 0 if stated == 0 else 2 if channels == 4 else 1
