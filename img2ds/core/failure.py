"""What can become of a row: a status and, for a failed row, exactly one reason.

Reasons are stable names that users group by; messages are for people. No I/O: the modules that
use the network or a codec map their library's errors to reasons at the boundary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class UsageError(ValueError):
    """The user asked for something that cannot be done; the message says what to do instead."""


class Status(str, Enum):
    """The `status` column, with img2dataset's three values."""

    SUCCESS = "success"
    FAILED_TO_DOWNLOAD = "failed_to_download"
    FAILED_TO_RESIZE = "failed_to_resize"


class Retryability(Enum):
    """Whether a later attempt can succeed."""

    PERMANENT = "permanent"  #: no
    TRANSIENT = "transient"  #: yes, the server or the network may recover
    LOCAL = "local"  #: the cause is on this machine, not at the URL


_DOWNLOAD, _RESIZE = Status.FAILED_TO_DOWNLOAD, Status.FAILED_TO_RESIZE
_PERMANENT, _TRANSIENT, _LOCAL = Retryability


class Reason(str, Enum):
    """Every reason except those for HTTP status codes, see `http_reason`.

    Attributes:
        status: the status of a row that failed for this reason.
        retryability: whether a later attempt can succeed.
        hint: what users can do if many rows fail for this reason; empty if nothing.
    """

    status: Status
    retryability: Retryability
    hint: str

    def __new__(
        cls, name: str, status: Status, retryability: Retryability, hint: str = ""
    ) -> Reason:
        member = str.__new__(cls, name)
        member._value_ = name
        member.status, member.retryability, member.hint = status, retryability, hint
        return member

    @classmethod
    def named(cls, name: str) -> Reason:
        """Return the reason called `name`. Raises KeyError."""
        return _BY_NAME[name]

    BAD_URL = (
        "bad_url", _DOWNLOAD, _PERMANENT,
        "the values are no URLs: check --url_col and --input_format",
    )  # fmt: skip
    UNSUPPORTED_SCHEME = "unsupported_scheme", _DOWNLOAD, _PERMANENT
    BLOCKED_ADDRESS = (
        "blocked_address", _DOWNLOAD, _PERMANENT,
        "pass --allow_private_addresses to download from hosts on a private network",
    )  # fmt: skip
    DNS_NOT_FOUND = "dns_not_found", _DOWNLOAD, _PERMANENT
    DNS_TIMEOUT = (
        "dns_timeout", _DOWNLOAD, _TRANSIENT,
        "the DNS servers are too slow; use faster ones with --dns_servers",
    )  # fmt: skip
    DNS_FAILURE = (
        "dns_failure", _DOWNLOAD, _TRANSIENT,
        "the DNS servers refuse queries; use others with --dns_servers",
    )  # fmt: skip
    CONNECT_REFUSED = "connect_refused", _DOWNLOAD, _TRANSIENT
    CONNECT_TIMEOUT = "connect_timeout", _DOWNLOAD, _TRANSIENT
    CONNECT_RESET = "connect_reset", _DOWNLOAD, _TRANSIENT
    NETWORK_UNREACHABLE = "network_unreachable", _DOWNLOAD, _TRANSIENT
    PROXY_ERROR = (
        "proxy_error", _DOWNLOAD, _TRANSIENT,
        "check --proxy and the proxy environment variables; --proxy none connects without a proxy",
    )  # fmt: skip
    TLS_ERROR = (
        "tls_error", _DOWNLOAD, _PERMANENT,
        "use --ca_bundle for a private authority; --ignore_ssl_certificate accepts any certificate",
    )  # fmt: skip
    CLOSED_BEFORE_REPLY = "closed_before_reply", _DOWNLOAD, _TRANSIENT
    PROTOCOL_ERROR = "protocol_error", _DOWNLOAD, _PERMANENT
    HEADER_TOO_LARGE = "header_too_large", _DOWNLOAD, _PERMANENT
    TOO_MANY_REDIRECTS = "too_many_redirects", _DOWNLOAD, _PERMANENT
    STALLED = (
        "stalled", _DOWNLOAD, _TRANSIENT,
        "the network may be saturated; lower --thread_count or raise --timeout",
    )  # fmt: skip
    TOO_SLOW = "too_slow", _DOWNLOAD, _TRANSIENT
    MAX_TIME = (
        "max_time", _DOWNLOAD, _TRANSIENT,
        "the network may be saturated; lower --thread_count or raise --max_time",
    )  # fmt: skip
    TOO_LARGE = "too_large", _DOWNLOAD, _PERMANENT
    TOO_SMALL = "too_small", _DOWNLOAD, _PERMANENT
    INCOMPLETE_BODY = "incomplete_body", _DOWNLOAD, _TRANSIENT
    BAD_ENCODING = "bad_encoding", _DOWNLOAD, _PERMANENT
    DISALLOWED_BY_HEADER = "disallowed_by_header", _DOWNLOAD, _PERMANENT
    DISALLOWED_BY_TDM = "disallowed_by_tdm", _DOWNLOAD, _PERMANENT
    BLOCKLISTED_URL = "blocklisted_url", _DOWNLOAD, _PERMANENT
    BLOCKLISTED_HOST = "blocklisted_host", _DOWNLOAD, _PERMANENT
    BLOCKLISTED_HASH = "blocklisted_hash", _DOWNLOAD, _PERMANENT
    DISALLOWED_BY_ROBOTS = "disallowed_by_robots", _DOWNLOAD, _PERMANENT
    ROBOTS_UNAVAILABLE = (
        "robots_unavailable", _DOWNLOAD, _TRANSIENT,
        "servers answered robots.txt with an error, which forbids all: run img2ds retry later",
    )  # fmt: skip
    # Reserved: nothing fails for it yet.
    DUPLICATE_URL = "duplicate_url", _DOWNLOAD, _PERMANENT
    HASH_MISMATCH = "hash_mismatch", _DOWNLOAD, _PERMANENT

    NOT_AN_IMAGE = "not_an_image", _RESIZE, _PERMANENT
    UNWANTED_FORMAT = "unwanted_format", _RESIZE, _PERMANENT
    TRUNCATED_IMAGE = "truncated_image", _RESIZE, _PERMANENT
    DECODE_ERROR = "decode_error", _RESIZE, _PERMANENT
    IMAGE_BOMB = (
        "image_bomb", _RESIZE, _PERMANENT,
        "if these are honest images, raise --max_decoded_pixels or --max_decode_memory",
    )  # fmt: skip
    IMAGE_TOO_SMALL = "image_too_small", _RESIZE, _PERMANENT
    IMAGE_AREA_TOO_LARGE = "image_area_too_large", _RESIZE, _PERMANENT
    ASPECT_RATIO = "aspect_ratio", _RESIZE, _PERMANENT
    ENCODE_ERROR = "encode_error", _RESIZE, _PERMANENT
    DECODER_CRASH = (
        "decoder_crash", _RESIZE, _PERMANENT,
        "these images crash a decoder; please report them, the log has their URLs and hashes",
    )  # fmt: skip
    DECODE_TIMEOUT = (
        "decode_timeout", _RESIZE, _PERMANENT,
        "these images take longer to decode than --max_decode_time",
    )  # fmt: skip
    BAD_BOXES = (
        "bad_boxes", _RESIZE, _PERMANENT,
        "values of --bbox_col must be [[left, top, right, bottom], ...], each number from 0 to 1",
    )  # fmt: skip
    FILTERED = "filtered", _RESIZE, _PERMANENT

    NO_DESCRIPTORS = (
        "no_descriptors", _DOWNLOAD, _LOCAL,
        "too many files were open; lower --thread_count or raise the limit with `ulimit -n`",
    )  # fmt: skip
    DISK_FULL = "disk_full", _DOWNLOAD, _LOCAL
    PLUGIN_ERROR = (
        "plugin_error", _DOWNLOAD, _LOCAL,
        "a plug-in raises errors: see the traceback above; once it is mended, run img2ds retry",
    )  # fmt: skip
    INTERNAL_ERROR = (
        "internal_error", _DOWNLOAD, _LOCAL,
        "this is a bug in img2ds; please report the traceback above",
    )  # fmt: skip


_BY_NAME: dict[str, Reason] = {reason.value: reason for reason in Reason}

#: HTTP status codes that a later attempt may change: timeouts, rate limits, overload (RFC 9110
#: 15.5.9, 15.6; RFC 6585 4); CDNs use 520 to 527 for an origin that did not answer.
_TRANSIENT_HTTP = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 528)})


def http_reason(code: int) -> str:
    """Return the reason for an HTTP response that is not an image: `http_404` and so on."""
    return f"http_{code}"


def status_of(reason: str) -> Status:
    """Return the status of a row that failed for `reason`."""
    known = _BY_NAME.get(reason)
    return Status.FAILED_TO_DOWNLOAD if known is None else known.status


def retryability(reason: str) -> Retryability:
    """Return whether a later attempt can succeed; permanent for unknown reasons."""
    known = _BY_NAME.get(reason)
    if known is not None:
        return known.retryability
    if reason.startswith("http_") and int(reason[5:]) in _TRANSIENT_HTTP:
        return Retryability.TRANSIENT
    return Retryability.PERMANENT


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no image.

    Attributes:
        reason: the value of a `Reason`, or `http_NNN`.
        message: one line for people.
        retry_after: seconds, if the server asked to wait.
        shared: the fault is known to be one that all rows share, such as a name server's.
        img2dataset: its message for the case, None where it has none.
        traceback: of an error of a plug-in, for the log.
        via_other_host: the fault may be a redirect target's or a proxy's, not the URL's host's.
    """

    reason: str
    message: str
    retry_after: float | None = None
    via_other_host: bool = False
    shared: bool = False
    img2dataset: str | None = field(default=None, compare=False)
    traceback: str | None = field(default=None, compare=False)

    @property
    def status(self) -> Status:
        return status_of(self.reason)

    @property
    def error_message(self) -> str:
        """The value of the column `error_message`, by which scripts for img2dataset group rows."""
        return self.message if self.img2dataset is None else self.img2dataset


def failure(reason: Reason, message: str = "", img2dataset: str | None = None) -> Failure:
    """Return a `Failure`; the message defaults to the reason in words."""
    text = message or reason.value.replace("_", " ")
    return Failure(reason.value, text, img2dataset=img2dataset)
