"""Whose request it is: by the peer, or by what trusted proxies say."""

from __future__ import annotations

from typing import Any

import pytest

from img2ds.core.failure import UsageError
from laion.web.client_address import TrustedProxies, client_key
from laion.web.middleware import ForwardedFor

PROXIES = TrustedProxies(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_the_key_of_a_client(address: str, name: str) -> None:
    assert client_key({"client": (address, 1)}) == name
    assert client_key({}) == ""


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # The peer is no proxy: whatever it says, it is the client.
        ("203.0.113.9", ["1.2.3.4"], "203.0.113.9"),
        ("192.0.2.2", ["1.2.3.4"], "192.0.2.2"),
        # It is, and has appended its own peer.
        ("10.1.2.3", ["203.0.113.9"], "203.0.113.9"),
        ("192.0.2.1", ["203.0.113.9"], "203.0.113.9"),
        ("::ffff:10.1.2.3", ["203.0.113.9"], "203.0.113.9"),
        ("2001:db8::7", ["2001:db9::1"], "2001:db9::1"),
        # What the client wrote itself stands to the left.
        ("10.1.2.3", ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        ("10.1.2.3", ["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
        # A chain of proxies.
        ("10.1.2.3", ["1.1.1.1, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
        ("10.1.2.3", ["10.7.7.7, 10.9.9.9"], "10.7.7.7"),
        # With ports, quotes and brackets.
        ("10.1.2.3", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.1.2.3", ['"[2001:db9::1]:4711"'], "2001:db9::1"),
        # What is no address is not believed.
        ("10.1.2.3", ["1.1.1.1, unknown"], "10.1.2.3"),
        ("10.1.2.3", ["x, 10.9.9.9"], "10.9.9.9"),
        ("10.1.2.3", [""], "10.1.2.3"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.1.2.3", [",".join(["10.0.0.1"] * 1000)], "10.0.0.1"),
    ],
)
def test_the_client_behind_proxies(peer: str, forwarded: list[str], client: str) -> None:
    assert PROXIES.client(peer, forwarded) == client


def test_no_proxy_is_trusted_by_default() -> None:
    assert not TrustedProxies([]).trusts("127.0.0.1")
    assert TrustedProxies([]).client("127.0.0.1", ["1.2.3.4"]) == "127.0.0.1"


def test_the_middleware_sets_the_client() -> None:
    seen: list[Any] = []

    async def app(scope: Any, *_: Any) -> None:
        seen.append(scope["client"])

    def run(peer: str) -> None:
        headers = [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"203.0.113.9")]
        scope = {"type": "http", "client": (peer, 80), "headers": headers}
        nothing: Any = None
        coroutine = ForwardedFor(app, PROXIES)(scope, nothing, nothing)
        with pytest.raises(StopIteration):
            coroutine.send(None)

    run("10.1.2.3")
    run("198.51.100.4")
    assert seen == [("203.0.113.9", 80), ("198.51.100.4", 80)]


@pytest.mark.parametrize("text", ["10.0.0.0/33", "proxy.example", "", "10.0.0.1:80"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--trusted_proxy takes addresses and networks"):
        TrustedProxies([text])
