"""An image to search by: what it may be, and the check of its header."""

from __future__ import annotations

from img2ds.core.failure import Failure
from img2ds.image.sniff import sniff

#: The largest image to search by, in bytes and pixels: a good photograph.
MAX_BYTES = 10_000_000
MAX_PIXELS = 40_000_000


class QueryImageError(ValueError):
    """The image to search by cannot be used; the message states the reason.

    Attributes:
        reason: its name among the reasons of img2ds, if it has one.
    """

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


def check_image(body: bytes, max_pixels: int = MAX_PIXELS) -> None:
    """Check an image by its header. Raises QueryImageError: it is not an image, or too large."""
    header = sniff(body)
    if isinstance(header, Failure):
        raise QueryImageError(header.message)
    if not header.width or not header.height:
        raise QueryImageError("image without pixels")
    if header.width * header.height > max_pixels:
        raise QueryImageError(
            f"the image has {header.width} x {header.height} pixels, above the limit of "
            f"{max_pixels} in all"
        )
