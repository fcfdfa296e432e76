"""Certificates as bytes: who issued one, and what an issuer's file holds. Pure.

What is read here only says where to look and what to try: whether a chain is trusted, OpenSSL says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from img2ds.net.error import FetchError
from img2ds.net.url import Url, parse_url

#: The access method `caIssuers` with a URL as its location (RFC 5280, 4.2.2.1), up to its length.
_ISSUERS = re.compile(rb"\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x02\x86([\x01-\x7f]|\x81[\x80-\xff])")
#: Signed data (RFC 5652, 4 and 5.1): a PKCS #7 file.
_SIGNED_DATA = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
_SEQUENCE, _CONTEXT_0 = 0x30, 0xA0
#: Most certificates that are taken from a file; those of authorities have one, or a few.
_MOST = 8


def issuer_url(certificate: bytes) -> Url | None:
    """Return where the issuer's certificate is published, by http; None if it does not say."""
    for found in _ISSUERS.finditer(certificate):
        location = certificate[found.end() : found.end() + found[1][-1]]
        try:
            url = parse_url(location.decode("ascii"))
        except (FetchError, UnicodeDecodeError):
            continue
        if url.scheme == "http":
            return url
    return None


def read_certificates(body: bytes) -> list[bytes]:
    """Return the certificates of a file: one in DER, or those of a PKCS #7 file; none if broken."""
    try:
        (whole,) = _elements(body)
        kind, start, end = whole
        if kind != _SEQUENCE:
            return []
        if not body.startswith(_SIGNED_DATA, start):
            return [body]
        content = next(part for part in _elements(body, start, end) if part[0] == _CONTEXT_0)
        (signed,) = _elements(body, *content[1:])
        inner = next(part for part in _elements(body, *signed[1:]) if part[0] == _CONTEXT_0)
        found = []
        at = inner[1]
        for _, _, end in _elements(body, *inner[1:]):
            found.append(body[at:end])
            at = end
        return found[:_MOST]
    except (ValueError, StopIteration):
        return []


def _elements(data: bytes, at: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Yield the elements of DER (X.690, 8.1): tag, and start and end of the content.

    Raises:
        ValueError: it is not DER.
    """
    end = len(data) if end is None else end
    while at < end:
        if at + 2 > end:
            raise ValueError("cut short")
        kind, length = data[at], data[at + 1]
        at += 2
        if length >= 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > end:
            raise ValueError("cut short")
        yield kind, at, at + length
        at += length
