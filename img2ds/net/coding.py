"""Content codings undone under a byte cap. Pure (RFC 9110 8.4)."""

from __future__ import annotations

import zlib

from img2ds.core.failure import Reason
from img2ds.core.sample import Body
from img2ds.net.error import FetchError

#: zlib's `wbits` for gzip or zlib, whichever the header shows.
_AUTO = 32 + zlib.MAX_WBITS
_GZIP = 16 + zlib.MAX_WBITS
#: How a gzip member begins (RFC 1952 2.3.1).
_GZIP_MAGIC = b"\x1f\x8b"
#: Codings of one body that are undone: servers apply one, and proxies another.
MAX_CODINGS = 2
#: Bytes that are inflated at a time, and how many may give less than they are: a block of eight
#: bytes can take a decoder as long as a thousand pixels, and give none.
_PIECE, _FREE_INPUT = 1 << 20, 2 << 20
#: Codings in use that requests do not accept, and that cannot be undone here.
_UNDONE = frozenset({b"gzip", b"x-gzip", b"deflate"})
_UNSUPPORTED = frozenset({b"br", b"zstd", b"compress", b"x-compress", b"dcb", b"dcz"})


def decode_content(body: Body, coding: bytes, max_bytes: int) -> Body:
    """Undo the codings of a Content-Encoding header, last applied first.

    As in browsers, unknown codings are ignored (object stores send `utf-8`, `base64`,
    `image/jpeg`), and so is `gzip` on a body that is not gzip: the image's own header decides.

    Raises:
        FetchError: bad_encoding when the data are broken or their coding cannot be undone,
            too_large when more than `max_bytes` result; no more than that is ever inflated.
    """
    names = [name.strip() for name in coding.lower().split(b",", 100)]
    if sum(name in _UNDONE for name in names) > MAX_CODINGS:
        raise FetchError(Reason.BAD_ENCODING, f"more than {MAX_CODINGS} content codings")
    for name in reversed(names):
        if name in (b"gzip", b"x-gzip"):
            if bytes(body[:2]) == _GZIP_MAGIC:
                body = _inflate(body, max_bytes, _GZIP)
        elif name == b"deflate":
            body = _inflate(body, max_bytes, _AUTO)
        elif name in _UNSUPPORTED:
            raise FetchError(
                Reason.BAD_ENCODING, f"content coding {name[:20].decode('latin-1')} not supported"
            )
    return body


def _inflate(body: Body, max_bytes: int, window: int) -> Body:
    inflater = zlib.decompressobj(window)
    data = bytearray()
    at = 0
    try:
        while at < len(body) and not inflater.eof:
            piece = bytes(body[at : at + _PIECE])
            at += len(piece)
            data += inflater.decompress(piece, max_bytes + 1 - len(data))
            if len(data) > max_bytes:
                raise FetchError(Reason.TOO_LARGE, "body larger than max_image_bytes")
            if at > _FREE_INPUT + len(data):
                raise FetchError(Reason.BAD_ENCODING, "compressed body is larger than its content")
    except zlib.error:
        if window != _AUTO:
            raise FetchError(Reason.BAD_ENCODING, "compressed body is broken") from None
        # Servers also send deflate without the zlib wrapper it ought to have (RFC 9110 8.4.1.2).
        return _inflate(body, max_bytes, -zlib.MAX_WBITS)
    if not inflater.eof:
        raise FetchError(Reason.BAD_ENCODING, "compressed body is cut short")
    return data
