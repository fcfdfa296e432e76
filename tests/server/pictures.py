"""The few small pictures that behaviours answer with, made once a process."""

from __future__ import annotations

from functools import cache

from tests.server.encodings import jpeg
from tests.server.photos import photo

#: Seed and size in pixels of the picture every good reply carries.
SEED, WIDTH, HEIGHT = 7, 320, 240


@cache
def picture() -> bytes:
    """The good picture as JPEG, about 20 kB."""
    return jpeg(photo(SEED, WIDTH, HEIGHT))
