"""Which proxy a URL goes through: against Python's urllib, and where curl does more."""

from __future__ import annotations

import os
import pickle
import urllib.request
from typing import Any
from unittest import mock
from urllib.request import getproxies_environment

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2ds.config.options import COMMAND, NetworkOptions
from img2ds.core.failure import Reason, Retryability, UsageError, retryability
from img2ds.net.address import is_literal, is_public_name
from img2ds.net.error import FetchError
from img2ds.net.no_proxy import NoProxy
from img2ds.net.proxies import Proxy, blamed, parse_proxy, read_rules, refusal
from img2ds.net.url import parse_url


def chosen(environment: dict[str, str], url: str, wanted: str = "environment") -> str | None:
    """HOST:PORT of the proxy that `url` goes through."""
    rules = read_rules(wanted, environment)
    proxy = rules.choose(parse_url(url)) if rules is not None else None
    return f"{proxy.host}:{proxy.port}" if proxy is not None else None


@pytest.mark.parametrize(
    ("environment", "http", "https"),
    [
        ({}, None, None),
        ({"http_proxy": "http://p:1"}, "p:1", None),
        ({"https_proxy": "http://p:1"}, None, "p:1"),
        ({"HTTPS_PROXY": "http://p:1", "HTTP_PROXY": "http://q:2"}, "q:2", "p:1"),
        ({"all_proxy": "http://p:1"}, "p:1", "p:1"),
        ({"ALL_PROXY": "p:1", "http_proxy": "q:2"}, "q:2", "p:1"),
        ({"all_proxy": "p:1", "http_proxy": ""}, None, "p:1"),
        ({"http_proxy": "p:1", "HTTP_PROXY": "q:2"}, "p:1", None),
        ({"http_proxy": "", "HTTP_PROXY": "q:2"}, None, None),
        ({"http_proxy": " p:1 "}, "p:1", None),
        # In a CGI program HTTP_PROXY is a header that the client sent.
        ({"HTTP_PROXY": "q:2", "REQUEST_METHOD": "GET"}, None, None),
        ({"http_proxy": "q:2", "HTTPS_PROXY": "p:1", "REQUEST_METHOD": "GET"}, "q:2", "p:1"),
        # A proxy that is not used may be wrong.
        ({"all_proxy": "socks5://s:1", "http_proxy": "p:1", "https_proxy": "p:1"}, "p:1", "p:1"),
        ({"ftp_proxy": "socks5://s:1", "no_proxy": "a"}, None, None),
    ],
)
def test_the_environment(environment: dict[str, str], http: str | None, https: str | None) -> None:
    assert chosen(environment, "http://a.example/") == http
    assert chosen(environment, "https://a.example/") == https
    assert chosen(environment, "https://a.example/", "none") is None
    assert chosen(environment, "http://a.example/", "http://mine:3") == "mine:3"


NAMES = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "Https_Proxy", "REQUEST_METHOD"]


@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["", "http://p:1", "http://q:2"])))
def test_proxies_are_those_of_urllib(environment: dict[str, str]) -> None:
    with mock.patch.dict(os.environ, environment, clear=True):
        known = getproxies_environment()
    for scheme in ("http", "https"):
        wanted = known.get(scheme, "").removeprefix("http://") or None
        assert chosen(environment, f"{scheme}://a.example/") == wanted


LABELS = st.lists(st.sampled_from(["a", "b", "com", "x"]), min_size=1, max_size=3)
HOSTS = LABELS.map(".".join)
ENTRIES = st.builds(
    "{}{}{}".format, st.sampled_from(["", ".", ".."]), HOSTS, st.sampled_from(["", ":80", ":81"])
)


@given(st.lists(ENTRIES), HOSTS, st.sampled_from([80, 81]))
def test_no_proxy_is_that_of_urllib(entries: list[str], host: str, port: int) -> None:
    text = ", ".join(entries)
    # Python documents it no more than typeshed knows it.
    bypass: Any = getattr(urllib.request, "proxy_bypass_environment")  # noqa: B009
    assert NoProxy(text).holds(host, port) == bool(bypass(f"{host}:{port}", {"no": text}))


@pytest.mark.parametrize(
    ("text", "host", "port", "held"),
    [
        ("*", "a.example", 80, True),
        ("b.example,*", "a.example", 80, True),
        ("", "a.example", 80, False),
        ("b.example c.example\ta.example", "a.example", 80, True),
        ("EXAMPLE", "a.example", 80, True),
        ("example.", "a.example.", 80, True),
        ("*.example", "a.example", 80, True),
        ("*.example", "an-example", 80, False),
        ("le.example", "example", 80, False),
        ("a.example:443", "a.example", 443, True),
        ("a.example:443", "a.example", 80, False),
        ("10.1.2.3", "10.1.2.3", 80, True),
        ("10.1.2.3:80", "10.1.2.3", 81, False),
        ("2.3", "10.1.2.3", 80, False),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.1.2.3/8", "10.200.0.1", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("10.0.0.0/8", "10.0.0.0.example", 80, False),
        ("10.0.0.0/33", "10.1.2.3", 80, False),
        ("0.0.0.0/0", "::1", 80, False),
        ("::1", "::1", 80, True),
        ("[::1]", "::1", 80, True),
        ("[::1]:81", "::1", 80, False),
        ("[::1]:81", "::1", 81, True),
        ("fd00::/8", "fd12::1", 80, True),
        ("fd00::/8", "fe80::1", 80, False),
        (",, :80 , [] ,/8,.", "a.example", 80, False),
    ],
)
def test_no_proxy(text: str, host: str, port: int, held: bool) -> None:
    assert NoProxy(text).holds(host, port) is held
    assert chosen({"no_proxy": "x", "NO_PROXY": "*"}, "http://y/", "p:1") == "p:1"
    assert chosen({"NO_PROXY": "y"}, "http://y/", "p:1") is None


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("proxy.example", Proxy("http", "proxy.example", 80)),
        ("Proxy.Example:3128", Proxy("http", "proxy.example", 3128)),
        ("HTTP://proxy.example:3128/", Proxy("http", "proxy.example", 3128)),
        ("https://proxy.example", Proxy("https", "proxy.example", 443)),
        ("http://[::1]:8080", Proxy("http", "::1", 8080)),
        ("http://bücher.example:1", Proxy("http", "xn--bcher-kva.example", 1)),
        # RFC 7617 2, with its example.
        ("http://Aladdin:open%20sesame@p:1",
         Proxy("http", "p", 1, b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
        ("me@p:1", Proxy("http", "p", 1, b"Basic bWU6")),
        ("me:a@b:c@p:1", Proxy("http", "p", 1, b"Basic bWU6YUBiOmM=")),
    ],
)  # fmt: skip
def test_a_proxy_as_it_is_written(text: str, proxy: Proxy) -> None:
    assert parse_proxy(text, "--proxy") == proxy


@pytest.mark.parametrize(
    "text",
    ["http://", "", "http://:3128", "http://p:port", "http://p:99999", "ftp://p:1", "://p",
     "http://secret:a/b@p:1", "http://secret:a#b@p:1", "http://secret:a?b@p:1", "p :1",
     "http://p\\@q:1", "secret:se cret@p:1"],
)  # fmt: skip
def test_invalid_proxies(text: str) -> None:
    with pytest.raises(UsageError, match=r"--proxy: not of the form http://HOST:PORT") as error:
        parse_proxy(text, "--proxy")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks4a", "socks5", "socks5h", "SOCKS5"])
def test_socks(scheme: str) -> None:
    with pytest.raises(UsageError, match="all_proxy in the environment: SOCKS") as error:
        read_rules("environment", {"ALL_PROXY": f"{scheme}://me:secret@p:1"})
    assert "secret" not in str(error.value)
    assert read_rules("none", {"ALL_PROXY": f"{scheme}://p:1"}) is None


def test_a_password_is_in_no_text() -> None:
    proxy = parse_proxy("http://me:secret@p:1", "--proxy")
    options = NetworkOptions(proxy="http://me:secret@p:1", headers={"Cookie": "secret"})
    encoded = proxy.credentials.removeprefix(b"Basic ").decode()
    for text in (repr(proxy), repr(options)):
        assert "secret" not in text
        assert encoded not in text
    assert pickle.loads(pickle.dumps(options)).proxy == options.proxy


def test_the_flag() -> None:
    assert COMMAND.read({"url_list": "x", "proxy": "p:1"})["proxy"] == "p:1"
    with pytest.raises(UsageError, match="--proxy takes"):
        NetworkOptions(proxy="")


@pytest.mark.parametrize("reason", [Reason.STALLED, Reason.CONNECT_TIMEOUT, Reason.DNS_TIMEOUT])
def test_silence_of_a_proxy(reason: Reason) -> None:
    assert blamed(FetchError(reason)).failure.reason == "proxy_error"
    relayed = blamed(FetchError(reason), silence=False).failure.reason
    assert relayed == ("stalled" if reason is Reason.STALLED else "proxy_error")


@pytest.mark.parametrize("reason", [Reason.NO_DESCRIPTORS, Reason.MAX_TIME, Reason.PROXY_ERROR])
def test_what_stays_as_it_is(reason: Reason) -> None:
    error = FetchError(reason, "words")
    assert blamed(error) is error


@pytest.mark.parametrize(
    ("status", "reason"),
    [(301, "proxy_error"), (400, "proxy_error"), (403, "proxy_error"), (407, "proxy_error"),
     (500, "http_500"), (502, "http_502"), (503, "http_503"), (504, "http_504")],
)  # fmt: skip
def test_refusals(status: int, reason: str) -> None:
    failure = refusal(status).failure
    assert failure.reason == reason
    assert str(status) in failure.message
    assert retryability(failure.reason) is Retryability.TRANSIENT


@pytest.mark.parametrize("name", ["a.example", "a.example.", "corp.example", "local.de", "x.arpa"])
def test_public_names(name: str) -> None:
    assert is_public_name(name)


@pytest.mark.parametrize(
    "name",
    ["localhost", "localhost.", "a.localhost", "intranet", "a.local", "x.y.internal", "b.corp",
     "nas.home.arpa", "home.arpa", "a.lan."],
)  # fmt: skip
def test_local_names(name: str) -> None:
    assert not is_public_name(name)


@given(st.one_of(st.ip_addresses().map(str), HOSTS))
def test_literals(host: str) -> None:
    url = f"http://[{host}]/" if ":" in host else f"http://{host}/"
    assert is_literal(parse_url(url).host) == (":" in host or host[-1].isdigit())
