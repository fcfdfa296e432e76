"""Lines of block lists: which URLs, hosts and hashes are the same."""

from __future__ import annotations

import hashlib

import pytest

from img2ds.blocklist.entries import (
    BadLineError,
    domains,
    host_digest,
    read_hash,
    read_host,
    read_url,
    url_digest,
)
from img2ds.net.url import parse_url

MD5 = hashlib.md5(b"x").hexdigest()
SHA256 = hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize("line", [MD5, MD5.upper(), f"md5:{MD5}", f"{MD5}  bad.jpg", f"{MD5},csam"])
def test_md5(line: str) -> None:
    assert read_hash(line) == (bytes.fromhex(MD5), "md5")


@pytest.mark.parametrize("line", [SHA256, f"SHA256:{SHA256}", f"{SHA256} *bad.jpg"])
def test_of_a_sha256_the_first_half_counts(line: str) -> None:
    assert read_hash(line) == (bytes.fromhex(SHA256[:32]), "sha256")


@pytest.mark.parametrize(
    "line", ["", "md5", MD5[:-1], f"{MD5}0", f"sha256:{MD5}", f"md5:{SHA256}", "z" * 32, "x" + MD5]
)
def test_no_hash(line: str) -> None:
    with pytest.raises(BadLineError, match="MD5"):
        read_hash(line)


@pytest.mark.parametrize(
    ("line", "url", "same"),
    [
        ("http://a.example/x.jpg", "https://a.example/x.jpg", True),
        ("a.example/x.jpg", "http://A.example:80/x.jpg#part", True),
        ("http://a.example/x y.jpg", "http://a.example/x%20y.jpg", True),
        ("http://a.example/x.jpg", "http://a.example/X.jpg", False),
        ("http://a.example/x.jpg", "http://a.example/x.jpg?v=2", False),
        ("http://a.example/x.jpg", "http://b.a.example/x.jpg", False),
        ("http://a.example/", "http://a.example/x.jpg", False),
        ("http://a.example:8080/", "http://a.example/", False),
    ],
)
def test_urls(line: str, url: str, same: bool) -> None:
    assert (read_url(line) == (url_digest(parse_url(url)), "url")) is same


@pytest.mark.parametrize("line", ["ftp://a.example/x.jpg", "two words", "http://"])
def test_no_url(line: str) -> None:
    with pytest.raises(BadLineError, match="not a URL"):
        read_url(line)


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("a.example", "a.example"), ("*.A.example", "a.example"), (".a.example.", "a.example"),
        ("bücher.example", "xn--bcher-kva.example"), ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"), ("com", "com"),
    ],
)  # fmt: skip
def test_hosts(line: str, host: str) -> None:
    assert read_host(line) == (host_digest(host), "host")


@pytest.mark.parametrize(
    "line",
    ["http://a.example", "a.example/x", "a.example:81", "me@a.example", "a b", "*", "a.*.example"],
)
def test_no_host(line: str) -> None:
    with pytest.raises(BadLineError, match="not a host"):
        read_host(line)


def test_domains_of_a_host() -> None:
    assert [*domains("a.b.example.")] == ["a.b.example", "b.example", "example"]
    assert [*domains("192.0.2.7")] == ["192.0.2.7"]
    assert [*domains("2001:db8::1")] == ["2001:db8::1"]
