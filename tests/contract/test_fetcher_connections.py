"""Every fetcher's connections: kept, lost and tried again; redirects across hosts; TLS."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from img2ds.core.failure import Failure
from img2ds.core.sample import Fetched
from tests.contract.fetcher_setups import (
    FETCHERS,
    HOST,
    KEEPS_CONNECTIONS,
    Everywhere,
    Notes,
    world,
)
from tests.contract.phases import Phases
from tests.run_on_virtual_clock import run, serving
from tests.server import certificates
from tests.server.good_image import good_image
from tests.server.registry import BEHAVIOURS
from tests.server.web import Behaviour, Peer, Request, Server, reply

pytestmark = pytest.mark.parametrize("kind", FETCHERS)

both_schemes = pytest.mark.parametrize("scheme", ["http", "https"])


@both_schemes
def test_a_connection_is_kept(kind: str, scheme: str) -> None:
    async def main() -> None:
        async with world(kind) as there:
            server = there.http if scheme == "http" else there.https
            for path in ("/good.jpg", "/chunked", "/gzip", "/404", "/204", "/304", "/good.jpg"):
                await there.get(f"{scheme}://{HOST}{path}")
            assert server.requests == 7
            assert server.connections == (1 if KEEPS_CONNECTIONS[kind] else 7)
            await there.fetcher.aclose()
            await wait_all_tasks_blocked()
            assert server.open == 0

    run(main)


@both_schemes
def test_a_connection_is_closed_where_the_caller_wants_none_kept(kind: str, scheme: str) -> None:
    async def main() -> None:
        async with world(kind) as there:
            server = there.http if scheme == "http" else there.https
            for _ in range(2):
                with there.budget.lease() as lease:
                    context = replace(there.context(lease), may_keep=lambda: False)
                    await there.fetcher.fetch(f"{scheme}://{HOST}/good.jpg", context)
                await wait_all_tasks_blocked()
                assert server.open == 0
            assert server.connections == 2

    run(main)


@both_schemes
def test_waiting_for_a_connection_is_reported(kind: str, scheme: str) -> None:
    """Once for the name, then until before the request is sent, for each connection."""

    async def main() -> None:
        notes: list[tuple[str, int, int]] = []
        async with world(kind) as there:
            server = there.http if scheme == "http" else there.https

            async def note(event: str) -> None:
                await wait_all_tasks_blocked()
                notes.append((event, server.connections, server.requests))

            connecting = Phases(lambda: note("waits"), lambda: note("goes on"))
            for path in ("/good.jpg", "/good.jpg"):
                with there.budget.lease() as lease:
                    context = replace(there.context(lease), connecting=connecting)
                    await there.fetcher.fetch(f"{scheme}://{HOST}{path}", context)
        first = [("waits", 0, 0), ("goes on", 0, 0), ("waits", 0, 0), ("goes on", 1, 0)]
        again = [("waits", 1, 1), ("goes on", 1, 1), ("waits", 1, 1), ("goes on", 2, 1)]
        assert notes == (first if KEEPS_CONNECTIONS[kind] else first + again)

    run(main)


@both_schemes
def test_a_response_is_reported_before_its_body(kind: str, scheme: str) -> None:
    """Once for each head, also that of a redirect, and not for silence."""

    async def main() -> None:
        async with world(kind) as there:
            reported: list[float] = []
            for path, count in (("/redirect-chain?hops=2", 3), ("/slow-but-steady?seconds=2", 1)):
                reported.clear()
                with there.budget.lease() as lease:
                    context = replace(
                        there.context(lease),
                        on_response=lambda: reported.append(trio.current_time()),
                    )
                    await there.fetcher.fetch(f"{scheme}://{HOST}{path}", context)
                assert len(reported) == count
            assert trio.current_time() - reported[0] > 10  # the body took its time
            reported.clear()
            with there.budget.lease() as lease:
                context = replace(there.context(lease), on_response=lambda: reported.append(0))
                url = f"{scheme}://{HOST}/slow-to-answer?seconds=11"
                outcome = await there.fetcher.fetch(url, context)
            assert isinstance(outcome, Failure)
            assert not reported

    run(main)


def test_time_until_there_is_a_slot_does_not_count(kind: str) -> None:
    async def main() -> None:
        async with world(kind, max_time=30) as there:

            async def wait_for_slot() -> None:
                await trio.sleep(29)

            connecting = Phases(trio.lowlevel.checkpoint, wait_for_slot)
            with there.budget.lease() as lease:
                context = replace(there.context(lease), connecting=connecting)
                url = f"http://{HOST}/slow-to-answer?seconds=9"
                assert isinstance(await there.fetcher.fetch(url, context), Fetched)

    run(main)


def test_a_kept_connection_serves_redirects(kind: str) -> None:
    async def main() -> None:
        async with world(kind) as there:
            assert await there.body(f"http://{HOST}/redirect-chain?hops=3") == good_image()
            assert there.http.connections == (1 if KEEPS_CONNECTIONS[kind] else 4)

    run(main)


def test_a_kept_connection_is_not_shared_between_origins(kind: str) -> None:
    async def main() -> None:
        async with world(kind, hosts=["*"]) as there:
            for host in ("a.example", "b.example", "a.example"):
                assert await there.body(f"http://{host}/good.jpg") == good_image()
            assert there.http.connections == (2 if KEEPS_CONNECTIONS[kind] else 3)

    run(main)


def test_an_old_connection_is_not_used(kind: str) -> None:
    async def main() -> None:
        async with world(kind) as there:
            await there.body(f"http://{HOST}/good.jpg")
            await trio.sleep(20)
            await there.body(f"http://{HOST}/good.jpg")
            assert there.http.connections == 2

    run(main)


@pytest.mark.parametrize("path", ["/connection-close", "/until-close", "/extra-bytes"])
def test_a_connection_that_must_not_be_kept(kind: str, path: str) -> None:
    async def main() -> None:
        async with world(kind) as there:
            for _ in range(3):
                assert await there.body(f"http://{HOST}{path}") == good_image()
            assert there.http.connections == 3

    run(main)


@both_schemes
@pytest.mark.parametrize(
    "path",
    [
        "/keep-alive-closed-at-once",
        "/keep-alive-closed-by-next-request",
        "/keep-alive-reset-by-next-request",
    ],
)
def test_a_kept_connection_that_was_lost_is_replaced(kind: str, scheme: str, path: str) -> None:
    async def main() -> None:
        async with world(kind, retries=0) as there:
            server = there.http if scheme == "http" else there.https
            for _ in range(3):
                assert await there.body(f"{scheme}://{HOST}{path}") == good_image()
                await wait_all_tasks_blocked()
            assert server.connections == 3

    run(main)


def test_connections_end_after_some_turns(kind: str) -> None:
    async def main() -> None:
        async with world(kind) as there:
            for _ in range(7):
                assert await there.body(f"http://{HOST}/keep-alive-ends-after") == good_image()
            assert there.http.connections == (3 if KEEPS_CONNECTIONS[kind] else 7)

    run(main)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/closes-without-reply", "closed_before_reply"), ("/resets-without-reply", "connect_reset")],
)
def test_a_new_connection_that_was_lost_is_a_failure(kind: str, path: str, reason: str) -> None:
    async def main() -> None:
        async with world(kind) as there:
            assert await there.reason(f"http://{HOST}{path}") == reason
            assert there.http.requests == 1
            await there.body(f"http://{HOST}/good.jpg")
            assert await there.reason(f"http://{HOST}{path}") == reason
            # Once on the connection that was kept, and once more on a new one.
            assert there.http.requests == (4 if KEEPS_CONNECTIONS[kind] else 3)

    run(main)


class StrayReply(Behaviour):
    """A long body, and then an unrequested reply."""

    path = "/stray"
    body = good_image() * 20

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(reply(self.body))
        await trio.sleep(1)
        await peer.send(reply(b"an unrequested reply: it must not be taken for an answer"))
        return True


@both_schemes
def test_a_stray_reply_answers_nothing(kind: str, scheme: str) -> None:
    async def main() -> None:
        async with world(kind, {**BEHAVIOURS, "/stray": StrayReply()}) as there:
            assert await there.body(f"{scheme}://{HOST}/stray") == StrayReply.body
            await trio.sleep(2)
            assert await there.body(f"{scheme}://{HOST}/good.jpg") == good_image()

    run(main)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(("scheme", "other"), [("http", "https"), ("https", "http")])
def test_redirects_across_schemes_and_hosts(
    kind: str, status: int, scheme: str, other: str
) -> None:
    async def main() -> None:
        async with world(kind, hosts=[HOST, f"www.{HOST}"]) as there:
            goal = f"{other}://www.{HOST}/good.jpg"
            url = f"{scheme}://{HOST}/redirect?status={status}&to={goal}"
            assert await there.body(url) == good_image()
            server = there.http if other == "http" else there.https
            assert server.targets == {(f"www.{HOST}", "/good.jpg"): 1}

    run(main)


def test_what_fails_behind_a_redirect_is_not_the_hosts(kind: str) -> None:
    async def main() -> None:
        async with world(kind, hosts=[HOST, f"www.{HOST}"]) as there:
            for path, elsewhere in (("/429", False), (f"/redirect?to=http://www.{HOST}/429", True)):
                failed = await there.get(f"http://{HOST}{path}")
                assert isinstance(failed, Failure)
                assert (failed.reason, failed.via_other_host) == ("http_429", elsewhere)

    run(main)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/ü/a b.jpg".encode(), "/%C3%BC/a%20b.jpg"),
        (b"?only=query", "?only=query"),
        (b"  /blanks  ", "/blanks"),
    ],
)
def test_where_a_location_leads(kind: str, location: bytes, target: str) -> None:
    notes = Notes()
    start = Notes(b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % location)

    class Table(Everywhere):
        def __getitem__(self, path: str) -> Behaviour:
            return start if not start.requests else notes

    async def main() -> None:
        async with world(kind, Table(notes)) as there:
            await there.body(f"http://{HOST}/dir/start")

    run(main)
    wanted = f"/dir/start{target}" if target.startswith("?") else target
    assert [request.target for request in notes.requests] == [wanted]


@pytest.mark.parametrize("allowed", [False, True])
def test_the_guard_meets_every_hop(kind: str, allowed: bool) -> None:
    async def main() -> None:
        inside = Server(BEHAVIOURS, host="127.0.0.2")
        async with (
            serving(inside),
            world(kind, allow_private_addresses=allowed) as there,
        ):
            url = f"http://{HOST}/redirect?to=http://127.0.0.2:{inside.port}/good.jpg"
            assert await there.reason(url) == (None if allowed else "blocked_address")
            assert there.http.requests == 1
            assert inside.connections == int(allowed)

    run(main)


@pytest.mark.parametrize("url", ["127.0.0.1", "pics.example", "img.pics.example"])
def test_a_good_certificate(kind: str, url: str) -> None:
    async def main() -> None:
        async with world(kind, hosts=["*"]) as there:
            assert await there.body(f"https://{url}/good.jpg") == good_image()

    run(main)


@pytest.mark.parametrize("make", [pytest.param(m, id=n) for n, m in certificates.BAD.items()])
def test_a_bad_certificate(kind: str, make: Callable[[], certificates.Identity]) -> None:
    async def main() -> None:
        async with world(kind, identity=make) as there:
            assert await there.reason(f"https://{HOST}/good.jpg") == "tls_error"
            assert there.https.requests == 0
        async with world(kind, identity=make, ignore_ssl_certificate=True) as there:
            assert await there.body(f"https://{HOST}/good.jpg") == good_image()

    run(main)


def test_the_private_authority_is_not_trusted_unasked(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def reason() -> str | None:
        async with world(kind, ca_bundle=None) as there:
            return await there.reason(f"https://{HOST}/good.jpg")

    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert run(reason) == "tls_error"
    monkeypatch.setenv("SSL_CERT_FILE", certificates.bundle())
    assert run(reason) is None


@pytest.mark.parametrize(
    ("host", "name"),
    [(HOST, HOST), ("bücher.example", "xn--bcher-kva.example"), ("127.0.0.1", None)],
)
def test_the_name_asked_for_in_tls(kind: str, host: str, name: str | None) -> None:
    names: list[str | None] = []

    def note(sock: ssl.SSLObject, asked: str | None, context: ssl.SSLContext) -> None:
        names.append(asked)

    context = certificates.open_context()
    context.sni_callback = note

    async def main() -> None:
        server = Server(BEHAVIOURS, tls=context)
        async with serving(server):
            way = f"*:443:127.0.0.1:{server.port}"
            async with world(kind, connect_to=(way,)) as there:
                assert await there.body(f"https://{host}/good.jpg") == good_image()

    run(main)
    assert names == [name]


def test_the_dot_at_the_end_of_a_rooted_name_is_not_in_certificates(kind: str) -> None:
    async def main() -> None:
        async with world(kind, hosts=[f"{HOST}."]) as there:
            assert await there.body(f"https://{HOST}./good.jpg") == good_image()

    run(main)


def test_a_label_that_is_too_long_for_tls(kind: str) -> None:
    async def main() -> None:
        async with world(kind, hosts=["*"]) as there:
            assert await there.reason(f"https://{'x' * 64}.example/good.jpg") == "bad_url"

    run(main)
