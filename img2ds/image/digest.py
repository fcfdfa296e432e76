"""Hashes of original bytes, in hex."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from img2ds.core.sample import Body

_HASHES = {"sha256": hashlib.sha256, "md5": hashlib.md5, "sha512": hashlib.sha512}


def make_digest(name: str) -> Callable[[Body], str]:
    """Return the function for `sha256`, `md5` or `sha512`."""
    new = _HASHES[name]

    def digest(body: Body) -> str:
        return new(body).hexdigest()

    return digest
