"""The small image that good replies carry, made once a process."""

from __future__ import annotations

from functools import cache

from tests.server.encodings import jpeg
from tests.server.photos import photo

#: Seed and size in pixels of the image every good reply carries.
SEED, WIDTH, HEIGHT = 7, 320, 240


@cache
def good_image() -> bytes:
    """Return the image as JPEG, about 20 kB."""
    return jpeg(photo(SEED, WIDTH, HEIGHT))
