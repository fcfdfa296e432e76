"""The pure rules: redirects, retries, robots, content codings, connect_to."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2ds.core.failure import Failure, Reason, Retryability, failure, http_reason, retryability
from img2ds.net.coding import decode_content
from img2ds.net.connect_rule import ConnectRule
from img2ds.net.error import FetchError
from img2ds.net.redirect_rule import REDIRECTS, next_url
from img2ds.net.retry_rule import BASE_DELAY, MAX_DELAY, parse_retry_after, retry_delay
from img2ds.net.robots import is_disallowed
from img2ds.net.url import parse_url
from tests.attack.pngs import dynamic_blocks

BASE = parse_url("http://a.example/x")


def test_redirects_end() -> None:
    assert next_url(BASE, b"/y", 4, 5).target == "/y"
    with pytest.raises(FetchError) as caught:
        next_url(BASE, b"/y", 5, 5)
    assert caught.value.failure.reason == "too_many_redirects"


def test_only_some_statuses_redirect() -> None:
    """300 offers a choice, 304 has no body, 305 and 306 are obsolete (RFC 9110 15.4)."""
    assert {status for status in range(300, 400) if status in REDIRECTS} == {
        301, 302, 303, 307, 308,
    }  # fmt: skip


def test_redirects_stay_on_the_web() -> None:
    with pytest.raises(FetchError) as caught:
        next_url(BASE, b"file:///etc/passwd", 0, 5)
    assert caught.value.failure.reason == "unsupported_scheme"


@pytest.mark.parametrize(
    ("raw", "target"), [("/ü".encode(), "/%C3%BC"), ("/ü".encode("latin-1"), "/%C3%BC")]
)
def test_raw_bytes_in_a_location(raw: bytes, target: str) -> None:
    assert next_url(BASE, raw, 0, 5).target == target


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("http_404", Retryability.PERMANENT),
        ("http_410", Retryability.PERMANENT),
        ("http_429", Retryability.TRANSIENT),
        ("http_503", Retryability.TRANSIENT),
        ("http_522", Retryability.TRANSIENT),
        ("stalled", Retryability.TRANSIENT),
        ("tls_error", Retryability.PERMANENT),
        ("not_an_image", Retryability.PERMANENT),
        ("no_descriptors", Retryability.LOCAL),
    ],
)
def test_only_what_may_pass_is_transient(reason: str, expected: Retryability) -> None:
    assert retryability(reason) is expected


def test_every_reason_has_a_status_and_a_retryability() -> None:
    for reason in Reason:
        made = failure(reason)
        assert made.reason == reason.value
        assert made.message
        assert made.status.value in ("failed_to_download", "failed_to_resize")
        assert retryability(reason.value) in Retryability


def test_retries_only_as_often_as_asked() -> None:
    stalled = failure(Reason.STALLED)
    random = Random(1)
    assert retry_delay(stalled, 1, 0, random) is None
    assert retry_delay(stalled, 1, 2, random) is not None
    assert retry_delay(stalled, 2, 2, random) is not None
    assert retry_delay(stalled, 3, 2, random) is None
    assert retry_delay(failure(Reason.TLS_ERROR), 1, 9, random) is None


@given(st.integers(1, 40), st.integers(0, 2**32))
def test_pauses_are_bounded(attempts: int, seed: int) -> None:
    delay = retry_delay(failure(Reason.STALLED), attempts, 100, Random(seed))
    assert delay is not None
    assert BASE_DELAY <= delay <= MAX_DELAY


class Longest(Random):
    """Chooses the longest pause."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_the_longest_pause_doubles_with_each_attempt() -> None:
    stalled = failure(Reason.STALLED)
    pauses = [retry_delay(stalled, attempts, 9, Longest()) for attempts in range(1, 8)]
    assert pauses == [1, 2, 4, 8, 16, MAX_DELAY, MAX_DELAY]


def test_retry_after_is_obeyed_or_not_waited_for() -> None:
    def after(seconds: float) -> float | None:
        return retry_delay(Failure(http_reason(429), "", seconds), 1, 3, Random(1))

    assert after(20.0) == 20.0
    assert after(MAX_DELAY) == MAX_DELAY
    assert after(MAX_DELAY + 1) is None


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        (b"120", None, 120.0), (b" 3 ", None, 3.0), (b"-1", None, None), (b"soon", None, None),
        (b"9999999999", None, None),
        (b"Wed, 21 Oct 2026 07:28:00 GMT", None, None),
        (b"Wed, 21 Oct 2026 07:28:00 GMT", b"yesterday", None),
        (b"Wed, 21 Oct 2026 07:28:00 GMT", b"Wed, 21 Oct 2026 07:27:15 GMT", 45.0),
        (b"Wed, 21 Oct 2026 07:28:00 GMT", b"Wed, 21 Oct 2026 07:30:00 GMT", 0.0),
        (b"Wednesday, 21-Oct-26 07:28:00 GMT", b"Wed Oct 21 07:27:59 2026", 1.0),
        (b"Wed, 21 Oct 2026 07:28:00 +0200", b"Wed, 21 Oct 2026 07:27:00 GMT", 60.0),
        (b"\xff", b"Wed, 21 Oct 2026 07:27:00 GMT", None),
    ],
)  # fmt: skip
def test_reads_retry_after(value: bytes, date: bytes | None, seconds: float | None) -> None:
    assert parse_retry_after(value, date) == seconds


DIRECTIVES = frozenset({"noai", "noindex"})


@pytest.mark.parametrize(
    ("value", "token", "expected"),
    [
        (b"noai", None, True),
        (b"NoAI", None, True),
        (b"nofollow, noindex", None, True),
        (b"nofollow", None, False),
        (b"otherbot: noai", None, False),
        (b"otherbot: noai", "mybot", False),
        (b"MyBot: noai", "mybot", True),
        (b"mybot: all", "mybot", False),
        (b"unavailable_after: 25 Jun 2010 15:00:00 PST", None, False),
        (b"", None, False),
    ],
)
def test_robots(value: bytes, token: str | None, expected: bool) -> None:
    assert is_disallowed(value, token, DIRECTIVES) is expected


DATA = b"an image" * 1000


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (DATA, b""),
        (DATA, b"identity"),
        (gzip.compress(DATA, mtime=0), b"gzip"),
        (gzip.compress(DATA, mtime=0), b"x-gzip"),
        (zlib.compress(DATA), b"deflate"),
        (raw_deflate(DATA), b"Deflate"),
        (gzip.compress(zlib.compress(DATA), mtime=0), b"deflate, gzip"),
        # Labels of object stores, and of servers that compressed nothing: browsers accept them.
        (DATA, b"utf-8"),
        (DATA, b"image/jpeg"),
        (DATA, b"aws-chunked"),
        (DATA, b"gzip"),
    ],
)
def test_undoes_codings(body: bytes, coding: bytes) -> None:
    assert decode_content(body, coding, len(DATA)) == DATA


@pytest.mark.parametrize(
    ("body", "coding", "reason"),
    [
        (gzip.compress(DATA, mtime=0), b"br", "bad_encoding"),
        (DATA, b"zstd", "bad_encoding"),
        (b"\x1f\x8bnot gzip", b"gzip", "bad_encoding"),
        (b"not deflate", b"deflate", "bad_encoding"),
        (gzip.compress(DATA, mtime=0)[:-9], b"gzip", "bad_encoding"),
        (DATA, b"gzip, gzip, deflate", "bad_encoding"),
        (gzip.compress(DATA + b"x", mtime=0), b"gzip", "too_large"),
        (gzip.compress(bytes(10_000_000), mtime=0), b"gzip", "too_large"),
    ],
)
def test_refuses_broken_and_endless_codings(body: bytes, coding: bytes, reason: str) -> None:
    with pytest.raises(FetchError) as caught:
        decode_content(body, coding, len(DATA))
    assert caught.value.failure.reason == reason


def test_compressed_data_without_content_end_early() -> None:
    """Millions of codes that a decoder builds, for no byte: seconds of CPU."""
    begin, blocks = b"\x1f\x8b\x08\0\0\0\0\0\0\xff", dynamic_blocks()
    short = begin + blocks * 10
    assert decode_content(gzip.compress(short), b"gzip", 1 << 20) == short
    with pytest.raises(FetchError) as caught:
        decode_content(begin + blocks * (40_000_000 // len(blocks)), b"gzip", 50_000_000)
    assert caught.value.failure.message == "compressed body is larger than its content"


def test_no_more_is_inflated_than_the_cap() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(FetchError):
            decode_content(bomb, b"gzip", 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("rule", "host", "port", "expected"),
    [
        ("a.example:80:127.0.0.1:8080", "a.example", 80, True),
        ("a.example:80:127.0.0.1:8080", "a.example", 443, False),
        ("a.example:80:127.0.0.1:8080", "b.example", 80, False),
        ("*:80:127.0.0.1:8080", "b.example", 80, True),
        (":80:127.0.0.1:8080", "b.example", 80, True),
        ("::127.0.0.1:8080", "b.example", 443, True),
        ("*:*:127.0.0.1:", "b.example", 443, True),
        ("[2001:db8::1]:80:[::1]:8080", "2001:db8::1", 80, True),
    ],
)
def test_connect_to(rule: str, host: str, port: int, expected: bool) -> None:
    assert ConnectRule.parse(rule).applies(host, port) is expected


def test_connect_to_reads_literals() -> None:
    rule = ConnectRule.parse("[2001:db8::1]:80:[::1]:8080")
    assert (rule.host, rule.port, rule.to_host, rule.to_port) == (
        "2001:db8::1",
        "80",
        "::1",
        "8080",
    )
