"""Every fetcher keeps the limits of NetworkOptions: bytes, seconds, redirects, directives."""

from __future__ import annotations

import gzip
from random import Random
from typing import Any

import pytest
import trio

from img2ds.core.failure import Failure
from tests.contract.fetcher_setups import FETCHERS, HOST, Everywhere, Notes, world
from tests.run_on_virtual_clock import run
from tests.server.body import chunked
from tests.server.good_image import good_image
from tests.server.web import head, reply

pytestmark = pytest.mark.parametrize("kind", FETCHERS)

#: A large body in few bytes on the wire.
PLAIN = bytes(100_000)
PACKED = gzip.compress(PLAIN, mtime=0)


def outcome(kind: str, path: str, scheme: str = "http", **options: Any) -> str | None:
    """The reason of one attempt."""

    async def main() -> str | None:
        async with world(kind, **options) as there:
            return await there.reason(f"{scheme}://{HOST}{path}")

    return run(main)


@pytest.mark.parametrize("path", ["/good.jpg", "/chunked", "/until-close", "/raw-deflate"])
def test_largest_body(kind: str, path: str) -> None:
    size = len(good_image())
    assert outcome(kind, path, max_image_bytes=size) is None
    assert outcome(kind, path, max_image_bytes=size - 1) == "too_large"


def test_the_largest_body_is_that_after_decompression(kind: str) -> None:
    packed = Everywhere(Notes(reply(PACKED, content_encoding="gzip")))
    assert outcome(kind, "/", behaviours=packed, max_image_bytes=len(PLAIN)) is None
    assert outcome(kind, "/", behaviours=packed, max_image_bytes=len(PLAIN) - 1) == "too_large"


def test_smallest_body(kind: str) -> None:
    size = len(good_image())
    assert outcome(kind, "/good.jpg", min_image_bytes=size) is None
    assert outcome(kind, "/good.jpg", min_image_bytes=size + 1) == "too_small"


def test_the_smallest_body_is_that_after_decompression(kind: str) -> None:
    packed = Everywhere(Notes(reply(PACKED, content_encoding="gzip")))
    assert len(PACKED) < 1000
    assert outcome(kind, "/", behaviours=packed, min_image_bytes=1000) is None


@pytest.mark.parametrize("path", ["/endless", "/endless-chunks", "/huge-length"])
def test_no_more_is_received_than_the_cap(kind: str, path: str) -> None:
    async def main() -> None:
        async with world(kind, max_image_bytes=200_000) as there:
            with there.budget.lease() as lease:
                outcome = await there.fetcher.fetch(f"http://{HOST}{path}", there.context(lease))
                assert isinstance(outcome, Failure)
                assert outcome.reason == "too_large"
                assert lease.held < 200_000 + 2 * 65_536

    run(main)


@pytest.mark.parametrize("how", ["length", "chunks", "close"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_large_body_arrives_bit_for_bit(kind: str, scheme: str, how: str) -> None:
    body = Random(1).randbytes(3_333_333)
    whole = {
        "length": reply(body),
        "chunks": head(transfer_encoding="chunked") + chunked(body, 77_777),
        "close": head(connection="close") + body,
    }[how]

    async def main() -> None:
        async with world(kind, Everywhere(Notes(whole, keep=how != "close"))) as there:
            assert await there.body(f"{scheme}://{HOST}/") == body

    run(main)


def test_many_bodies_share_a_small_budget(kind: str) -> None:
    async def main() -> None:
        async with world(kind) as there:
            there.budget.limit = 50_000
            bodies = []

            async def fetch(number: int) -> None:
                url = f"http://{HOST}/slow-but-steady?seconds=0.5&{number}"
                bodies.append(await there.body(url))

            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(fetch, number)
            assert bodies == [good_image()] * 20
            assert there.budget.held == 0

    run(main, limit=1000.0)


@pytest.mark.parametrize(
    ("path", "options", "seconds"),
    [
        ("/never-answers", {"timeout": 3}, 3),
        ("/unresponsive-in-header", {"timeout": 3}, 3),
        ("/unresponsive-after-header", {"timeout": 3}, 3),
        ("/unresponsive-in-body", {"timeout": 3}, 3),
        ("/never-answers", {"timeout": 3, "max_time": 2}, 2),
        ("/slow-header", {"timeout": 3, "max_time": 20}, 20),
        ("/slow-header", {"timeout": 1}, 1),
        ("/slow-but-steady?seconds=2", {"timeout": 3}, 40),
        ("/slow-but-steady?seconds=2", {"timeout": 3, "max_time": 30}, 30),
        ("/slow-to-answer?seconds=4", {"timeout": 3}, 3),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_time_limits_to_the_second(
    kind: str, scheme: str, path: str, options: dict[str, Any], seconds: float
) -> None:
    async def main() -> float:
        async with world(kind, **options) as there:
            return await there.seconds(f"{scheme}://{HOST}{path}")

    assert run(main) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("path", "options", "reason"),
    [
        ("/slow-to-answer?seconds=9", {}, None),
        ("/slow-to-answer?seconds=11", {}, "stalled"),
        ("/slow-to-answer?seconds=11", {"timeout": 12.0}, None),
        ("/slow-to-answer?seconds=11", {"timeout": 12.0, "max_time": 10.0}, "max_time"),
        ("/slow-but-steady?seconds=2", {}, None),
        ("/slow-but-steady?seconds=2", {"max_time": 39.0}, "max_time"),
        ("/slow-but-steady?seconds=9", {}, "max_time"),
    ],
)
def test_time_limits_have_their_reasons(
    kind: str, path: str, options: dict[str, Any], reason: str | None
) -> None:
    assert outcome(kind, path, **options) == reason


@pytest.mark.parametrize(("hops", "limit"), [(0, 0), (1, 1), (5, 5), (7, 7)])
def test_redirects_up_to_the_limit(kind: str, hops: int, limit: int) -> None:
    path = f"/redirect-chain?hops={hops}"
    assert outcome(kind, path, max_redirects=limit) is None
    if hops:
        assert outcome(kind, path, max_redirects=limit - 1) == "too_many_redirects"


@pytest.mark.parametrize("path", ["/redirect-loop", "/redirect-endless"])
def test_a_loop_costs_no_more_requests_than_the_limit(kind: str, path: str) -> None:
    async def main() -> tuple[str | None, int]:
        async with world(kind, max_redirects=5) as there:
            return await there.reason(f"http://{HOST}{path}"), there.http.requests

    assert run(main) == ("too_many_redirects", 6)


@pytest.mark.parametrize(
    ("path", "options", "reason"),
    [
        ("/robots-noai", {}, "disallowed_by_header"),
        ("/robots-noai", {"disallowed_header_directives": ()}, None),
        ("/robots-noai", {"disallowed_header_directives": ("nofollow",)}, None),
        (
            "/robots-several",
            {"disallowed_header_directives": ("NoFollow",)},
            "disallowed_by_header",
        ),
        ("/robots-this-agent", {}, None),
        ("/robots-this-agent", {"user_agent_token": "img2ds-test"}, "disallowed_by_header"),
        ("/robots-this-agent", {"user_agent_token": "IMG2DS-Test"}, "disallowed_by_header"),
        ("/robots-other-agent", {"user_agent_token": "img2ds-test"}, None),
        ("/robots-noai", {"user_agent_token": "img2ds-test"}, "disallowed_by_header"),
        ("/tdm-reserved", {}, None),
        ("/tdm-reserved", {"respect_tdm": True}, "disallowed_by_tdm"),
        ("/tdm-reserved?value=0", {"respect_tdm": True}, None),
        ("/good.jpg", {"respect_tdm": True}, None),
    ],
)
def test_directives(kind: str, path: str, options: dict[str, Any], reason: str | None) -> None:
    assert outcome(kind, path, **options) == reason


@pytest.mark.parametrize(
    ("path", "seconds"), [("/429", 120.0), ("/503", None), ("/404", None), ("/garbage", None)]
)
def test_retry_after(kind: str, path: str, seconds: float | None) -> None:
    async def main() -> None:
        async with world(kind) as there:
            failed = await there.get(f"http://{HOST}{path}")
            assert isinstance(failed, Failure)
            assert failed.retry_after == seconds

    run(main)
