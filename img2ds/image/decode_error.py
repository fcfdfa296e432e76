"""Why pixels could not be decoded."""

from __future__ import annotations

CUT_SHORT = "image is cut short"
BROKEN = "broken image data"
TOO_MUCH_MEMORY = "takes more memory to decode than --max_decode_memory"


class DecodeError(Exception):
    """The image cannot be decoded; `truncated` if that is because its end is missing."""

    def __init__(self, message: str, *, truncated: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.truncated = truncated


class BombError(DecodeError):
    """The image has more pixels than its header states, or takes more memory than is allowed."""
