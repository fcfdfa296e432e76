"""Every reason has one status and one retryability, and the list is the one that is documented."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from img2ds.core.failure import (
    Failure,
    Reason,
    Retryability,
    Status,
    failure,
    http_reason,
    retryability,
)

#: The contract's list; users group by these names, so none may change unnoticed.
DOWNLOAD = [
    "bad_url", "unsupported_scheme", "blocked_address", "dns_not_found", "dns_timeout",
    "dns_failure", "connect_refused", "connect_timeout", "connect_reset",
    "network_unreachable", "proxy_error", "tls_error", "closed_before_reply",
    "protocol_error", "header_too_large",
    "too_many_redirects", "stalled", "too_slow", "max_time", "too_large", "too_small",
    "incomplete_body", "bad_encoding", "disallowed_by_header", "disallowed_by_tdm",
    "blocklisted_url", "blocklisted_host", "blocklisted_hash", "disallowed_by_robots",
    "robots_unavailable", "duplicate_url", "hash_mismatch",
]  # fmt: skip
RESIZE = [
    "not_an_image", "unwanted_format", "truncated_image", "decode_error", "image_bomb",
    "image_too_small", "image_area_too_large", "aspect_ratio", "encode_error", "decoder_crash",
    "decode_timeout", "bad_boxes", "filtered",
]  # fmt: skip
LOCAL = ["no_descriptors", "disk_full", "plugin_error", "internal_error"]
#: Those that a later try may change.
TRANSIENT = [
    "dns_timeout", "dns_failure", "connect_refused", "connect_timeout", "connect_reset",
    "network_unreachable", "proxy_error", "closed_before_reply", "stalled", "too_slow",
    "max_time", "incomplete_body", "robots_unavailable",
]  # fmt: skip


def test_the_list_is_the_contracts() -> None:
    assert [reason.value for reason in Reason] == DOWNLOAD + RESIZE + LOCAL


@pytest.mark.parametrize("reason", Reason)
def test_status_and_retryability(reason: Reason) -> None:
    made = failure(reason)
    wanted = Status.FAILED_TO_RESIZE if reason in RESIZE else Status.FAILED_TO_DOWNLOAD
    assert made.status is wanted
    if reason in LOCAL:
        assert retryability(reason) is Retryability.LOCAL
    elif reason in TRANSIENT:
        assert retryability(reason) is Retryability.TRANSIENT
    else:
        assert retryability(reason) is Retryability.PERMANENT


@pytest.mark.parametrize("incomplete", [("new",), ("new", Status.FAILED_TO_RESIZE)])
def test_a_reason_needs_a_status_and_a_retryability(incomplete: tuple[Any, ...]) -> None:
    create = vars(Reason)["__new_member__"]  # what Enum calls for each line of the table
    with pytest.raises(TypeError, match="required positional argument"):
        create(Reason, *incomplete)


def test_hints_say_what_to_do() -> None:
    hints = {reason.value: reason.hint for reason in Reason if reason.hint}
    assert set(hints) == {
        "blocked_address", "dns_timeout", "dns_failure", "proxy_error", "tls_error", "stalled",
        "max_time", "decoder_crash", "decode_timeout", "bad_boxes", "no_descriptors",
        "internal_error", "image_bomb", "bad_url", "plugin_error", "robots_unavailable",
    }  # fmt: skip
    for hint in hints.values():
        assert "--" in hint or "report" in hint or "img2ds retry" in hint


def test_unknown_reasons_are_permanent_download_failures() -> None:
    assert retryability("other") is Retryability.PERMANENT
    assert Failure("other", "").status is Status.FAILED_TO_DOWNLOAD


def test_reasons_survive_pickling() -> None:
    for reason in Reason:
        assert pickle.loads(pickle.dumps(reason)) is reason


def test_http_reasons_carry_their_number() -> None:
    for code in range(100, 600):
        reason = http_reason(code)
        assert reason == f"http_{code}"
        assert Failure(reason, "").status is Status.FAILED_TO_DOWNLOAD
        passing = code in {408, 425, 429, 500, 502, 503, 504, *range(520, 528)}
        assert retryability(reason) is (
            Retryability.TRANSIENT if passing else Retryability.PERMANENT
        )


def test_values_are_plain_text() -> None:
    """Counters, JSON and Arrow accept them unchanged."""
    made = failure(Reason.DNS_NOT_FOUND)
    assert type(made.reason) is str
    assert made.message == "dns not found"
    assert failure(Reason.TLS_ERROR, "certificate has expired").message == "certificate has expired"


def test_statuses_are_img2datasets() -> None:
    assert [status.value for status in Status] == [
        "success", "failed_to_download", "failed_to_resize",
    ]  # fmt: skip
