"""URLs as browsers read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2ds.net.error import FetchError
from img2ds.net.url import Url, parse_url, resolve_reference

BUCHER = "xn--bcher-kva.example"


def parts(text: str) -> tuple[str, str, int, str, str]:
    url = parse_url(text)
    return (url.scheme, url.host, url.port, url.target, url.authority)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://a.example/x.jpg", ("http", "a.example", 80, "/x.jpg", "a.example")),
        ("HTTPS://A.Example/X", ("https", "a.example", 443, "/X", "a.example")),
        ("http://a.example", ("http", "a.example", 80, "/", "a.example")),
        ("http://a.example?q=1", ("http", "a.example", 80, "/?q=1", "a.example")),
        ("http://a.example:8080/x", ("http", "a.example", 8080, "/x", "a.example:8080")),
        ("https://a.example:443/x", ("https", "a.example", 443, "/x", "a.example")),
        ("http://a.example:/x", ("http", "a.example", 80, "/x", "a.example")),
        ("http://user:secret@a.example/x", ("http", "a.example", 80, "/x", "a.example")),
        ("http://a.example/x#part", ("http", "a.example", 80, "/x", "a.example")),
        ("  http://a.example/a b.jpg \n", ("http", "a.example", 80, "/a%20b.jpg", "a.example")),
        ("http://a.example/a\tb\nc", ("http", "a.example", 80, "/abc", "a.example")),
        ("http:\\\\a.example\\x\\y", ("http", "a.example", 80, "/x/y", "a.example")),
        ("http:///a.example/x", ("http", "a.example", 80, "/x", "a.example")),
        ("http://a.example/ü?ö=%41", ("http", "a.example", 80, "/%C3%BC?%C3%B6=%41", "a.example")),
        ('http://a.example/<"x">', ("http", "a.example", 80, "/%3C%22x%22%3E", "a.example")),
        ("http://a.example/%", ("http", "a.example", 80, "/%", "a.example")),
        ("http://a.example/a/../b/./c/..", ("http", "a.example", 80, "/b/", "a.example")),
        ("http://a.example/../../x", ("http", "a.example", 80, "/x", "a.example")),
        ("http://a.example/x?u=/../y", ("http", "a.example", 80, "/x?u=/../y", "a.example")),
        ("http://bücher.example/x", ("http", BUCHER, 80, "/x", BUCHER)),
        ("http://[2001:DB8::1]:81/x", ("http", "2001:db8::1", 81, "/x", "[2001:db8::1]:81")),
        ("http://a_b.example/", ("http", "a_b.example", 80, "/", "a_b.example")),
    ],
)  # fmt: skip
def test_reads_as_browsers_do(text: str, expected: tuple[str, str, int, str, str]) -> None:
    assert parts(text) == expected


@pytest.mark.parametrize("text", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "0x7f000001"])
def test_odd_forms_of_an_address_are_that_address(text: str) -> None:
    """The guard must see what a system call would connect to."""
    assert parse_url(f"http://{text}/").host == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "bad_url"),
        ("", "bad_url"),
        ("   ", "bad_url"),
        ("a.example/x.jpg", "bad_url"),
        ("//a.example/x.jpg", "bad_url"),
        ("http://", "bad_url"),
        ("http:///", "bad_url"),
        ("http://a..example/", "bad_url"),
        ("http://a b.example/", "bad_url"),
        ("http://a.example:99999/", "bad_url"),
        ("http://a.example:x/", "bad_url"),
        ("http://[::1/", "bad_url"),
        ("http://[nonsense]/", "bad_url"),
        ("http://1.2.3.4.5/", "bad_url"),
        ("http://a.example/" + "x" * 70_000, "bad_url"),
        ("ftp://a.example/x", "unsupported_scheme"),
        ("data:image/png;base64,AAAA", "unsupported_scheme"),
        ("file:///etc/passwd", "unsupported_scheme"),
        ("javascript:alert(1)", "unsupported_scheme"),
    ],
)
def test_refuses(text: str | None, reason: str) -> None:
    with pytest.raises(FetchError) as caught:
        parse_url(text)
    assert caught.value.failure.reason == reason


@given(st.text(max_size=60))
def test_never_sends_what_a_request_line_cannot_hold(tail: str) -> None:
    try:
        url = parse_url("http://a.example/" + tail)
    except FetchError:
        return
    assert url.target.isascii()
    assert url.target.isprintable()
    assert " " not in url.target
    assert url.target.startswith("/")


@given(st.text(max_size=60))
def test_never_raises_anything_else(text: str) -> None:
    for candidate in (text, "http:" + text, "http://" + text, "https://a.example:" + text):
        try:
            url = parse_url(candidate)
        except FetchError:
            continue
        assert isinstance(url, Url)
        assert parse_url(url.text) == url


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("/y", "http://a.example/y"),
        ("y", "http://a.example/dir/y"),
        ("//b.example/y", "http://b.example/y"),
        ("https://b.example/y", "https://b.example/y"),
        ("?q", "http://a.example/dir/x?q"),
        (" /with blank ", "http://a.example/with%20blank"),
        ("\\\\b.example\\y", "http://b.example/y"),
    ],
)
def test_resolves_redirects(reference: str, expected: str) -> None:
    base = parse_url("http://a.example/dir/x")
    assert resolve_reference(base, reference).text == expected


@pytest.mark.parametrize(
    ("port", "expected"),
    [("0000080", 80), ("0" * 5000 + "81", 81), ("65535", 65535)],
)
def test_a_port_may_begin_with_zeros(port: str, expected: int) -> None:
    assert parse_url(f"http://a.example:{port}/").port == expected


@pytest.mark.parametrize("port", ["0", "65536", "0000019999999", "9" * 5000, "8a", "-1", "８０"])
def test_ports_there_are_none_of(port: str) -> None:
    with pytest.raises(FetchError) as caught:
        parse_url(f"http://a.example:{port}/")
    assert caught.value.failure.reason == "bad_url"


def test_nothing_is_spent_on_a_long_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """IDNA takes time that grows with the square of a name's length."""
    monkeypatch.setattr("idna.encode", lambda *_, **__: pytest.fail("it was looked at"))
    with pytest.raises(FetchError):
        parse_url(f"http://{'ü' * 300}/")
