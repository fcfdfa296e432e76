"""Bodies that are no images."""

from __future__ import annotations

from tests.attack.kind import FILL, kind


@kind("no image, 50 MB of zeros")
def zeros() -> bytes:
    return bytes(FILL)


@kind("no image, 50 MB of an open comment in XML")
def comment() -> bytes:
    return b'<?xml version="1.0"?><!--' + b"- " * (FILL // 2 - 20)


@kind("no image, 50 MB of declarations in XML")
def declarations() -> bytes:
    return b"<?xml?>" * (FILL // 7)


@kind("no image, 50 MB of brackets")
def brackets() -> bytes:
    return b"<!doctype svg [" + b"[" * (FILL - 20)


@kind("no image, 50 MB of brands")
def brands() -> bytes:
    return b"\xff\xff\xff\xffftyp" + b"nope" * (FILL // 4 - 2)
