"""Every fetcher behind an HTTP proxy: what goes through it, and how; and the guard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from trio.testing import wait_all_tasks_blocked

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Failure, UsageError
from img2ds.core.sample import Fetched
from img2ds.net.fetcher import open_fetcher
from tests.contract.fetcher_setups import (
    DEAD_PROXY,
    FETCHERS,
    HOST,
    KEEPS_CONNECTIONS,
    Everywhere,
    Notes,
    tls_proxy,
    world,
)
from tests.contract.phases import Phases
from tests.run_on_virtual_clock import run, serving
from tests.server import certificates
from tests.server.good_image import good_image
from tests.server.names import NameServer, addresses
from tests.server.proxy import ProxyServer

pytestmark = pytest.mark.parametrize("kind", FETCHERS)

both_schemes = pytest.mark.parametrize("scheme", ["http", "https"])


@both_schemes
def test_how_a_proxy_is_asked(kind: str, scheme: str) -> None:
    async def main() -> None:
        async with world(kind, proxy=ProxyServer(), headers={"Referer": "x"}) as there:
            assert await there.body(f"{scheme}://{HOST}/good.jpg?a=b") == good_image()
            request = there.proxy.heads[0]
            if scheme == "http":
                assert there.proxy.asked == [f"http://{HOST}/good.jpg?a=b"]
                assert request.headers["referer"] == "x"
            else:
                assert there.proxy.asked == [f"{HOST}:443"]
                assert set(request.headers) == {"host", "user-agent"}
            assert request.headers["user-agent"].startswith("img2ds/")
            server = there.http if scheme == "http" else there.https
            assert server.targets == {(HOST, "/good.jpg?a=b"): 1}

    run(main)


@pytest.mark.parametrize("url", ["http://[::1]/good.jpg", "https://[::1]/good.jpg"])
def test_addresses_are_asked_for_in_brackets(kind: str, url: str) -> None:
    async def main() -> None:
        async with world(
            kind, proxy=ProxyServer(), public=("127.0.0.1", "::1"), ignore_ssl_certificate=True
        ) as there:
            assert await there.body(url) == good_image()
            wanted = url if url.startswith("http:") else "[::1]:443"
            assert there.proxy.asked == [wanted]

    run(main)


@pytest.mark.parametrize("make", [ProxyServer, tls_proxy])
def test_connections_are_kept(kind: str, make: Callable[[], ProxyServer]) -> None:
    """One for each host, even if a relaying proxy announces persistent connections.

    A proxy that passes what follows a first request on to its host, as tinyproxy does, would
    have that host answer for others.
    """

    async def main() -> None:
        async with world(kind, proxy=make(), allow_private_addresses=True) as there:
            for host in (HOST, f"a.{HOST}", HOST):
                assert await there.body(f"http://{host}/http10-keep-alive") == good_image()
            assert there.proxy.connections == (2 if KEEPS_CONNECTIONS[kind] else 3)
            for host in (HOST, f"a.{HOST}", HOST):
                assert await there.body(f"https://{host}/good.jpg") == good_image()
            assert there.proxy.connections == (4 if KEEPS_CONNECTIONS[kind] else 6)
            assert there.http.connections == 0
            await there.fetcher.aclose()
            await wait_all_tasks_blocked()
            assert there.proxy.open == 0

    run(main)


def test_a_relayed_connection_without_keep_alive_is_not_kept(kind: str) -> None:
    async def main() -> None:
        async with world(kind, proxy=ProxyServer()) as there:
            for _ in range(2):
                assert await there.body(f"http://{HOST}/good.jpg") == good_image()
            assert there.proxy.connections == 2

    run(main)


def test_a_kept_connection_that_the_proxy_closed_is_replaced(kind: str) -> None:
    async def main() -> None:
        async with world(kind, proxy=ProxyServer()) as there:
            for _ in range(3):
                url = f"http://{HOST}/keep-alive-closed-by-next-request"
                assert await there.body(url) == good_image()
            assert there.proxy.connections == 3

    run(main)


def test_redirects_go_through_it(kind: str) -> None:
    async def main() -> None:
        async with world(kind, proxy=ProxyServer()) as there:
            url = f"http://{HOST}/redirect?to=https://www.{HOST}/good.jpg"
            assert await there.body(url) == good_image()
            assert there.proxy.asked == [url, f"www.{HOST}:443"]

    run(main)


@both_schemes
@pytest.mark.parametrize("make", [ProxyServer, tls_proxy])
@pytest.mark.parametrize(
    ("login", "known"), [("me:pass%20w%C3%B6rd%2F%40@", True), ("me:pass@", False), ("", False)]
)
def test_credentials(
    kind: str, scheme: str, make: Callable[..., ProxyServer], login: str, known: bool
) -> None:
    async def main() -> None:
        async with world(kind, proxy=make(login="me:pass wörd/@"), login=login) as there:
            for _ in range(2):
                outcome = await there.get(f"{scheme}://{HOST}/good.jpg")
                if known:
                    assert isinstance(outcome, Fetched), outcome
                else:
                    assert isinstance(outcome, Failure)
                    assert outcome.reason == "proxy_error"
                    assert outcome.message == "proxy requires credentials (407)"
            server = there.http if scheme == "http" else there.https
            assert server.requests == (2 if known else 0)

    run(main)


def test_credentials_are_for_the_proxy_alone(kind: str) -> None:
    notes = Notes()

    async def main() -> None:
        async with world(
            kind, Everywhere(notes), proxy=ProxyServer(login="me:pass"), login="me:pass@"
        ) as there:
            await there.body(f"https://{HOST}/good.jpg")

    run(main)
    assert "proxy-authorization" not in notes.requests[0].headers


@pytest.mark.parametrize("make", [ProxyServer, tls_proxy])
def test_a_bad_certificate_behind_it(kind: str, make: Callable[[], ProxyServer]) -> None:
    async def main() -> None:
        async with world(kind, proxy=make(), identity=certificates.wrong_host) as there:
            assert await there.reason(f"https://{HOST}/good.jpg") == "tls_error"
            assert there.https.requests == 0
        async with world(
            kind, proxy=make(), identity=certificates.wrong_host, ignore_ssl_certificate=True
        ) as there:
            assert await there.body(f"https://{HOST}/good.jpg") == good_image()

    run(main)


@pytest.mark.parametrize("path", ["/good.jpg", "/chunked", "/until-close", "/slow-to-answer"])
def test_tls_within_tls(kind: str, path: str) -> None:
    async def main() -> None:
        async with world(kind, proxy=tls_proxy()) as there:
            for _ in range(3):
                assert await there.body(f"https://{HOST}{path}") == good_image()

    run(main)


@both_schemes
@pytest.mark.parametrize(
    "host",
    ["127.0.0.2", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "2130706433",
     "localhost", "LOCALHOST.", "a.localhost", "intranet", "printer.local", "wiki.corp",
     "metadata.google.internal", "nas.home.arpa."],
)  # fmt: skip
@pytest.mark.parametrize("hop", [False, True])
def test_what_says_itself_that_it_leads_inside(
    kind: str, scheme: str, host: str, hop: bool
) -> None:
    url = f"{scheme}://{host}/good.jpg"
    if hop:
        url = f"http://{HOST}/redirect?to={url}"

    async def main() -> None:
        async with world(kind, proxy=ProxyServer(), public=()) as there:
            assert await there.reason(url) == "blocked_address"
            assert len(there.proxy.asked) == int(hop)

    run(main)


def test_private_addresses_where_they_are_allowed(kind: str) -> None:
    async def main() -> None:
        async with world(
            kind, proxy=ProxyServer(), public=(), allow_private_addresses=True
        ) as there:
            assert await there.body("http://10.0.0.1/good.jpg") == good_image()
            assert await there.body("https://127.0.0.1/good.jpg") == good_image()

    run(main)


@both_schemes
def test_the_proxy_resolves_names(kind: str, scheme: str) -> None:
    async def main() -> None:
        names = NameServer({"proxy.example": addresses("127.0.0.1")})
        async with serving(names), world(kind, proxy=ProxyServer()) as there:
            url = f"http://proxy.example:{there.proxy.port}"
            options = NetworkOptions(
                fetcher=kind, proxy=url, dns_servers=(names.text,), ca_bundle=certificates.bundle()
            )
            fetcher = open_fetcher(options)
            with there.budget.lease() as lease:
                outcome = await fetcher.fetch(f"{scheme}://{HOST}/good.jpg", there.context(lease))
                assert isinstance(outcome, Fetched), outcome
            await fetcher.aclose()
            assert {name for name, _ in names.asked} == {"proxy.example"}

    run(main)


def test_a_proxy_whose_name_is_unknown(kind: str) -> None:
    async def main() -> None:
        names = NameServer()
        async with serving(names), world(kind) as there:
            options = NetworkOptions(
                fetcher=kind, proxy="http://proxy.example", dns_servers=(names.text,)
            )
            with there.budget.lease() as lease:
                outcome = await open_fetcher(options).fetch(f"http://{HOST}/", there.context(lease))
            words = "proxy: host not found"
            assert outcome == Failure("proxy_error", words, via_other_host=True)

    run(main)


@both_schemes
def test_a_connect_to_rule_comes_before_a_proxy(kind: str, scheme: str) -> None:
    async def main() -> None:
        # The world's own rules lead to its servers; nothing listens at the proxy.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(f"{scheme}_proxy", DEAD_PROXY)
            async with world(kind) as there:
                assert await there.body(f"{scheme}://{HOST}/good.jpg") == good_image()
                assert await there.reason(f"{scheme}://{HOST}:81/good.jpg") == "proxy_error"

    run(main)


@both_schemes
def test_proxies_of_the_environment(
    kind: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        proxy = ProxyServer()
        async with world(kind, proxy=proxy) as there:
            monkeypatch.setenv("all_proxy", proxy.origin)
            monkeypatch.setenv("no_proxy", "127.0.0.0/8")
            url = f"{scheme}://{HOST}/good.jpg"
            direct = f"http://127.0.0.1:{there.http.port}/good.jpg"
            for wanted, asked in (("environment", 1), ("none", 0)):
                proxy.asked.clear()
                fetcher = open_fetcher(
                    NetworkOptions(
                        fetcher=kind, proxy=wanted, ca_bundle=certificates.bundle(),
                        dns_servers=("127.0.0.1:9",),
                    )
                )  # fmt: skip
                with there.budget.lease() as lease:
                    outcome = await fetcher.fetch(url, there.context(lease))
                assert isinstance(outcome, Fetched) == bool(asked)
                with there.budget.lease() as lease:
                    assert isinstance(await fetcher.fetch(direct, there.context(lease)), Fetched)
                assert len(proxy.asked) == asked
                await fetcher.aclose()

    run(main)


@pytest.mark.parametrize(
    ("name", "value"),
    [("proxy", "socks5://me:secret@127.0.0.1:1080"), ("proxy", "http://me:secret#x@127.0.0.1:1"),
     ("all_proxy", "socks5h://me:secret@127.0.0.1"), ("https_proxy", "me:secret@")],
)  # fmt: skip
def test_a_proxy_that_cannot_be_used_is_refused_at_once(
    kind: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"proxy": value} if name == "proxy" else {}
    if not options:
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=name) as error:
        open_fetcher(NetworkOptions(fetcher=kind, **options))
    assert "secret" not in str(error.value)


@both_schemes
def test_a_row_that_waits_for_a_tunnel_waits_for_a_connection(kind: str, scheme: str) -> None:
    notes: list[int] = []

    async def main() -> None:
        async with world(kind, proxy=ProxyServer()) as there:

            async def note() -> None:
                await wait_all_tasks_blocked()
                notes.append(len(there.proxy.asked))

            with there.budget.lease() as lease:
                context = replace(there.context(lease), connecting=Phases(note, note))
                await there.fetcher.fetch(f"{scheme}://{HOST}/good.jpg", context)

    run(main)
    assert notes == ([0, 0, 0, 0] if scheme == "http" else [0, 0, 0, 1])
