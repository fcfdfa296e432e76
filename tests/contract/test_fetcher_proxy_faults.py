"""Every fetcher behind a proxy: faults of the proxy and of the server have their own reasons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Failure
from img2ds.core.sample import Fetched
from img2ds.net.fetcher import open_fetcher
from tests.contract.fetcher_setups import DEAD_PROXY, FETCHERS, HOST, tls_proxy, world
from tests.run_on_virtual_clock import run
from tests.server import certificates, greetings
from tests.server.proxy import CASES, Case, ProxyServer, answers
from tests.server.registry import BEHAVIOURS
from tests.server.web import Peer, Request, head

pytestmark = pytest.mark.parametrize("kind", FETCHERS)

both_schemes = pytest.mark.parametrize("scheme", ["http", "https"])


async def outcome_behind(
    kind: str, proxy: ProxyServer, url: str, **options: Any
) -> Fetched | Failure:
    async with world(kind, proxy=proxy, **options) as there:
        return await there.get(url)


#: Counted as faults of a relaying proxy, since there is no head yet.
_ITS_OWN = {"connect_reset", "closed_before_reply", "protocol_error", "header_too_large"}


@both_schemes
@pytest.mark.parametrize("path", sorted(BEHAVIOURS))
def test_servers_are_seen_as_without_it(kind: str, scheme: str, path: str) -> None:
    url = f"{scheme}://{HOST}{path}"

    async def main() -> tuple[Fetched | Failure, Fetched | Failure]:
        async with world(kind) as there:
            direct = await there.get(url)
        return direct, await outcome_behind(kind, ProxyServer(), url)

    direct, relayed = run(main)
    if isinstance(direct, Fetched):
        assert isinstance(relayed, Fetched), relayed
        assert bytes(relayed.body) == bytes(direct.body)
        return
    assert isinstance(relayed, Failure)
    possible = {direct.reason}
    if scheme == "http" and direct.reason in _ITS_OWN and direct.message != "broken chunks":
        possible = {"proxy_error"}
    elif direct.reason == "connect_reset":  # a tunnel passes a reset on as an end
        possible = {"closed_before_reply"}
    assert relayed.reason in possible


@both_schemes
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_misbehaving_proxy(kind: str, scheme: str, case: Case) -> None:
    async def main() -> Fetched | Failure:
        proxy = ProxyServer(misbehaviour=case.misbehaviour)
        return await outcome_behind(kind, proxy, f"{scheme}://{HOST}/good.jpg")

    outcome = run(main)
    wanted = case.http if scheme == "http" else case.https
    assert (outcome.reason if isinstance(outcome, Failure) else None) == wanted
    if isinstance(outcome, Failure):
        assert outcome.via_other_host or outcome.reason != "connect_timeout", "the host is blamed"
        if wanted == "proxy_error":
            assert "proxy" in outcome.message


@both_schemes
@pytest.mark.parametrize(
    "greeting",
    [greetings.resets_at_once, greetings.closes_at_once, greetings.never_speaks,
     greetings.speaks_plain_http, greetings.stalls_in_handshake, greetings.refuses_the_name],
    ids=lambda greeting: greeting.__name__,
)  # fmt: skip
def test_no_tls_with_the_proxy(kind: str, scheme: str, greeting: Callable[..., Any]) -> None:
    async def main() -> Fetched | Failure:
        proxy = tls_proxy()
        proxy.greeting = greeting
        return await outcome_behind(kind, proxy, f"{scheme}://{HOST}/good.jpg")

    outcome = run(main)
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.via_other_host) == ("proxy_error", True)


@both_schemes
def test_a_proxy_that_is_not_there(kind: str, scheme: str) -> None:
    async def main() -> Fetched | Failure:
        async with world(kind, hosts=(), proxy=None) as there:
            fetcher = open_fetcher(NetworkOptions(fetcher=kind, proxy=DEAD_PROXY))
            with there.budget.lease() as lease:
                return await fetcher.fetch(f"{scheme}://{HOST}/good.jpg", there.context(lease))

    outcome = run(main)
    assert outcome == Failure("proxy_error", "proxy: connection refused", via_other_host=True)


@both_schemes
@pytest.mark.parametrize("make", [pytest.param(m, id=n) for n, m in certificates.BAD.items()])
def test_a_bad_certificate_of_the_proxy(
    kind: str, scheme: str, make: Callable[[], certificates.Identity]
) -> None:
    """Refused even with --ignore_ssl_certificate: a proxy may be sent a password."""

    async def main() -> None:
        proxy = ProxyServer(tls=certificates.server_context(make))
        async with world(kind, proxy=proxy, ignore_ssl_certificate=True) as there:
            outcome = await there.get(f"{scheme}://{HOST}/good.jpg")
            assert isinstance(outcome, Failure)
            assert outcome.reason == "proxy_error"
            assert "certificate" in outcome.message
            assert there.proxy.requests == 0

    run(main)


@pytest.mark.parametrize(
    "path", ["/never-answers", "/resets-in-header", "/resets-in-body", "/closes-without-reply"]
)
def test_what_goes_wrong_within_tls_within_tls(kind: str, path: str) -> None:
    async def main() -> None:
        async with world(kind, proxy=tls_proxy()) as there:
            declared = BEHAVIOURS[path].reason
            if declared == "connect_reset":  # a tunnel passes a reset on as an end
                declared = "closed_before_reply"
            assert await there.reason(f"https://{HOST}{path}") == declared

    run(main)


@pytest.mark.parametrize("words", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_unsolicited_bytes_in_a_tunnel(kind: str, words: bytes) -> None:
    async def main() -> Fetched | Failure:
        proxy = ProxyServer(misbehaviour=answers(head(200) + words))
        return await outcome_behind(kind, proxy, f"https://{HOST}/good.jpg")

    outcome = run(main)
    assert isinstance(outcome, Failure)
    assert outcome.reason == "proxy_error"


@pytest.mark.parametrize("way", ["closes", "is unresponsive"])
def test_a_tunnel_that_dies_in_the_handshake(kind: str, way: str) -> None:
    async def misbehave(request: Request, peer: Peer) -> bool:
        await peer.send(head(200))
        await peer.stream.receive_some()
        if way == "is unresponsive":
            await trio.sleep_forever()
        return False

    async def main() -> Fetched | Failure:
        return await outcome_behind(
            kind, ProxyServer(misbehaviour=misbehave), f"https://{HOST}/good.jpg"
        )

    outcome = run(main)
    assert isinstance(outcome, Failure)
    assert outcome.reason == ("tls_error" if way == "closes" else "connect_timeout")
    assert outcome.via_other_host, "an unresponsive host would be blamed"
