"""Reads what img2dataset writes differently: error messages instead of reasons, JSON with NaN.

Its messages are those of Python's urllib, http.client, ssl and socket, and of its own resizer.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from img2ds.core.failure import Reason, http_reason

#: The reason of an unknown message; it counts as permanent.
UNKNOWN = "other"

_HTTP = re.compile(r"HTTP Error (\d{3})")
#: The first pattern found in a message counts.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), reason.value)
    for pattern, reason in (
        (r"Temporary failure in name resolution", Reason.DNS_FAILURE),
        (r"Name or service not known|No address associated|nodename nor", Reason.DNS_NOT_FOUND),
        (r"CERTIFICATE_VERIFY_FAILED|\[SSL|SSLError|_ssl\.c", Reason.TLS_ERROR),
        (r"read operation timed out", Reason.STALLED),
        (r"timed out", Reason.CONNECT_TIMEOUT),
        (r"Connection refused", Reason.CONNECT_REFUSED),
        (r"Connection reset|Network is unreach|No route to host|Broken pipe", Reason.CONNECT_RESET),
        (r"Remote end closed connection", Reason.CLOSED_BEFORE_REPLY),
        (r"IncompleteRead", Reason.INCOMPLETE_BODY),
        (r"Too many open files", Reason.NO_DESCRIPTORS),
        (r"No space left", Reason.DISK_FULL),
        (r"infinite loop|redirect", Reason.TOO_MANY_REDIRECTS),
        (r"unknown url type", Reason.UNSUPPORTED_SCHEME),
        (r"no host given|URL can't contain|nonnumeric port|codec can't|IPv6", Reason.BAD_URL),
        (r"X-Robots-Tag", Reason.DISALLOWED_BY_HEADER),
        (r"hash mismatch", Reason.HASH_MISMATCH),
        (r"image too small", Reason.IMAGE_TOO_SMALL),
        (r"aspect ratio too large", Reason.ASPECT_RATIO),
        (r"image area too large", Reason.IMAGE_AREA_TOO_LARGE),
        (r"image decoding error|OpenCV", Reason.DECODE_ERROR),
    )
)  # fmt: skip


def reason_of(message: str) -> str:
    """Return the reason for a message of img2dataset; `other` if it is unknown."""
    if match := _HTTP.search(message):
        if "redirect error" in message:
            return str(Reason.TOO_MANY_REDIRECTS.value)
        return http_reason(int(match[1]))
    for pattern, reason in _PATTERNS:
        if pattern.search(message):
            return reason
    return UNKNOWN


def read_json(data: bytes) -> Any:
    """Parse the JSON of a sample. Raises ValueError.

    NaN, which is not valid JSON, is null: img2dataset writes it for a missing number.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data, parse_constant=_constant)


def _constant(name: str) -> float | None:
    return None if name == "NaN" else float(name)
