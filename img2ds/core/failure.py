"""What can become of one row: a status, and for a failure exactly one reason.

Reasons are stable names that users group by; messages are for people. Rules
only, no I/O: the modules that talk to the network or to codecs map their
library's errors onto these at the boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class UsageError(ValueError):
    """The user asked for something that cannot be done; the message says what to do instead."""


class Status(str, Enum):
    """The `status` column, with img2dataset's three values."""

    SUCCESS = "success"
    FAILED_TO_DOWNLOAD = "failed_to_download"
    FAILED_TO_RESIZE = "failed_to_resize"


class Retryability(Enum):
    """Whether trying again can help, and who is to blame."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    LOCAL = "local"


class Reason(str, Enum):
    """Every reason but the HTTP ones, which carry their number: see `http_reason`."""

    BAD_URL = "bad_url"
    UNSUPPORTED_SCHEME = "unsupported_scheme"
    BLOCKED_ADDRESS = "blocked_address"
    DNS_NOT_FOUND = "dns_not_found"
    DNS_TIMEOUT = "dns_timeout"
    DNS_FAILURE = "dns_failure"
    CONNECT_REFUSED = "connect_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECT_RESET = "connect_reset"
    PROXY_ERROR = "proxy_error"
    TLS_ERROR = "tls_error"
    CLOSED_BEFORE_REPLY = "closed_before_reply"
    PROTOCOL_ERROR = "protocol_error"
    HEADER_TOO_LARGE = "header_too_large"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    STALLED = "stalled"
    TOO_SLOW = "too_slow"
    MAX_TIME = "max_time"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    INCOMPLETE_BODY = "incomplete_body"
    BAD_ENCODING = "bad_encoding"
    DISALLOWED_BY_HEADER = "disallowed_by_header"
    DISALLOWED_BY_ROBOTS = "disallowed_by_robots"
    BLOCKLISTED = "blocklisted"
    DUPLICATE_URL = "duplicate_url"
    HASH_MISMATCH = "hash_mismatch"

    NOT_AN_IMAGE = "not_an_image"
    UNWANTED_FORMAT = "unwanted_format"
    TRUNCATED_IMAGE = "truncated_image"
    DECODE_ERROR = "decode_error"
    IMAGE_BOMB = "image_bomb"
    IMAGE_TOO_SMALL = "image_too_small"
    IMAGE_AREA_TOO_LARGE = "image_area_too_large"
    ASPECT_RATIO = "aspect_ratio"
    ENCODE_ERROR = "encode_error"
    BAD_BOXES = "bad_boxes"

    NO_DESCRIPTORS = "no_descriptors"
    DISK_FULL = "disk_full"
    INTERNAL_ERROR = "internal_error"


_RESIZE = frozenset(
    reason.value
    for reason in (
        Reason.NOT_AN_IMAGE,
        Reason.UNWANTED_FORMAT,
        Reason.TRUNCATED_IMAGE,
        Reason.DECODE_ERROR,
        Reason.IMAGE_BOMB,
        Reason.IMAGE_TOO_SMALL,
        Reason.IMAGE_AREA_TOO_LARGE,
        Reason.ASPECT_RATIO,
        Reason.ENCODE_ERROR,
        Reason.BAD_BOXES,
    )
)

_TRANSIENT = frozenset(
    reason.value
    for reason in (
        Reason.DNS_TIMEOUT,
        Reason.DNS_FAILURE,
        Reason.CONNECT_REFUSED,
        Reason.CONNECT_TIMEOUT,
        Reason.CONNECT_RESET,
        Reason.PROXY_ERROR,
        Reason.CLOSED_BEFORE_REPLY,
        Reason.STALLED,
        Reason.TOO_SLOW,
        Reason.MAX_TIME,
        Reason.INCOMPLETE_BODY,
    )
)

_LOCAL = frozenset(
    reason.value for reason in (Reason.NO_DESCRIPTORS, Reason.DISK_FULL, Reason.INTERNAL_ERROR)
)

#: Answers that a later try may change: time-outs, rate limits, overload (RFC 9110 15.5.9,
#: 15.6; RFC 6585 4; 520-527 are the common CDN's words for an origin that did not answer).
_TRANSIENT_HTTP = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 528)})


def http_reason(code: int) -> str:
    """The reason for an HTTP answer that is not an image: `http_404` and the like."""
    return f"http_{code}"


def retryability(reason: str) -> Retryability:
    """Whether `reason` is permanent, transient or this machine's own fault."""
    if reason in _LOCAL:
        return Retryability.LOCAL
    if reason in _TRANSIENT:
        return Retryability.TRANSIENT
    if reason.startswith("http_") and int(reason[5:]) in _TRANSIENT_HTTP:
        return Retryability.TRANSIENT
    return Retryability.PERMANENT


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no image.

    `reason` is a `Reason` value or `http_NNN`; `message` is one line for people;
    `retry_after` is in seconds, when the server named a time; `elsewhere` tells that it may be no
    fault of the URL's host, but of one that a redirect led to, or of a proxy.
    """

    reason: str
    message: str
    retry_after: float | None = None
    elsewhere: bool = False

    @property
    def status(self) -> Status:
        if self.reason in _RESIZE:
            return Status.FAILED_TO_RESIZE
        return Status.FAILED_TO_DOWNLOAD


def failure(reason: Reason, message: str = "") -> Failure:
    """A `Failure` for one of the fixed reasons; the message defaults to the reason in words."""
    return Failure(reason.value, message or reason.value.replace("_", " "))
