"""Every fetcher with --respect_robots: one request a host, what each answer means (RFC 9309)."""

from __future__ import annotations

import gzip
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from img2ds.net.robots_gate import ERROR_LIFETIME, LIFETIME
from img2ds.net.robots_txt import MAX_BYTES
from tests.contract.fetcher_setups import FETCHERS, HOST, World, world
from tests.run_on_virtual_clock import run
from tests.server.registry import BEHAVIOURS
from tests.server.web import Behaviour, Peer, Request, head, reply

pytestmark = pytest.mark.parametrize("kind", FETCHERS)

GOOD, OTHER = f"http://{HOST}/good.jpg", "other.example"
RULES = b"User-agent: *\nDisallow: /private/\n"


@dataclass
class Robots(Behaviour):
    """Answers requests for robots.txt, and counts them by host."""

    answer_with: bytes = reply(RULES, content_type="text/plain")
    seconds: float = 0.0
    good: bool = True

    def __post_init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def answer(self, request: Request, peer: Peer) -> bool:
        self.asked[request.host.partition(":")[0]] += 1
        await trio.sleep(self.seconds)
        if self.answer_with:
            await peer.send(self.answer_with)
        return self.good


def outcomes(kind: str, robots: Robots, *urls: str, **options: Any) -> list[str | None]:
    """The reasons of URLs that are asked for one after the other."""

    async def main() -> list[str | None]:
        behaviours = {
            **BEHAVIOURS,
            "/robots.txt": robots,
            "/private/x.jpg": BEHAVIOURS["/good.jpg"],
        }
        hosts = (HOST, OTHER)
        options.setdefault("respect_robots", True)
        async with world(kind, behaviours, hosts=hosts, **options) as there:
            return [await there.reason(url) for url in urls]

    return run(main)


def test_one_request_a_host(kind: str) -> None:
    robots = Robots()
    urls = [GOOD, f"http://{HOST}/private/x.jpg", GOOD, f"http://{OTHER}/good.jpg"]
    found = outcomes(kind, robots, *urls)
    assert found == [None, "disallowed_by_robots", None, None]
    assert robots.asked == {HOST: 1, OTHER: 1}


def test_off_by_default(kind: str) -> None:
    robots = Robots()
    found = outcomes(kind, robots, f"http://{HOST}/private/x.jpg", respect_robots=False)
    assert found == [None]
    assert not robots.asked


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 429, 304])
def test_without_a_file_all_is_allowed(kind: str, status: int) -> None:
    robots = Robots(reply(RULES, status=status))
    assert outcomes(kind, robots, f"http://{HOST}/private/x.jpg") == [None]


@pytest.mark.parametrize("status", [500, 502, 503, 599])
def test_an_error_of_the_server_forbids_all_for_a_minute(kind: str, status: int) -> None:
    robots = Robots(reply(b"", status=status))
    assert outcomes(kind, robots, GOOD, GOOD) == ["robots_unavailable"] * 2
    assert robots.asked == {HOST: 1}


@pytest.mark.parametrize(
    ("answer", "keeps"),
    [
        (b"not HTTP at all\r\n\r\n", False),
        (reply(gzip.compress(RULES)[:-12] + b"x" * 12, content_encoding="gzip"), True),
        (reply(status=302, location="ftp://x.example/"), True),
        (reply(status=302, location="http://127.0.0.2/robots.txt"), True),
    ],
)
def test_a_file_that_cannot_be_had_forbids_all(kind: str, answer: bytes, keeps: bool) -> None:
    """What redirects lead to meets the guard of addresses, as for images."""
    robots = Robots(answer, good=keeps)
    assert outcomes(kind, robots, GOOD) == ["robots_unavailable"]


def test_a_fault_of_the_network_is_the_rows_and_is_tried_again(kind: str) -> None:
    robots = Robots(b"", good=False)
    assert outcomes(kind, robots, GOOD, GOOD) == ["closed_before_reply"] * 2
    assert robots.asked[HOST] == 2
    robots = Robots(b"", seconds=11)
    assert outcomes(kind, robots, GOOD) == ["stalled"]


def test_an_encoded_file(kind: str) -> None:
    robots = Robots(reply(gzip.compress(RULES), content_encoding="gzip"))
    assert outcomes(kind, robots, f"http://{HOST}/private/x.jpg") == ["disallowed_by_robots"]


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_of_a_long_file_the_first_part_counts(kind: str, framing: str) -> None:
    body = RULES + b"#" * (2 * MAX_BYTES) + b"\nDisallow: /\n"
    if framing == "length":
        answer = reply(body)
    elif framing == "chunked":
        answer = head(transfer_encoding="chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        answer = head(connection="close") + body
    robots = Robots(answer, good=framing != "close")
    urls = [GOOD, f"http://{HOST}/private/x.jpg"]
    # Whatever the largest image is.
    found = outcomes(kind, robots, *urls, max_image_bytes=200_000)
    assert found == [None, "disallowed_by_robots"]


def test_redirects_to_the_file(kind: str) -> None:
    there = Robots()
    here = Robots(reply(status=301, location=f"http://{OTHER}/moved.txt"))

    async def main() -> list[str | None]:
        behaviours = {**BEHAVIOURS, "/robots.txt": here, "/moved.txt": there}
        hosts = (HOST, OTHER)
        async with world(kind, behaviours, hosts=hosts, respect_robots=True) as made:
            return [await made.reason(GOOD), await made.reason(f"http://{HOST}/private/x.jpg")]

    assert run(main) == [None, "disallowed_by_robots"]
    assert here.asked == {HOST: 1}
    assert there.asked == {OTHER: 1}


def test_endless_redirects_allow(kind: str) -> None:
    robots = Robots(reply(status=302, location="/robots.txt?again"))
    assert outcomes(kind, robots, GOOD, max_redirects=0) == [None]
    assert robots.asked[HOST] == 6


def test_where_a_redirect_of_an_image_leads_is_asked_too(kind: str) -> None:
    robots = Robots()
    url = f"http://{HOST}/redirect-to?url=http://{OTHER}/private/x.jpg"

    class To(Behaviour):
        path = "/redirect-to"

        async def answer(self, request: Request, peer: Peer) -> bool:
            await peer.send(reply(status=302, location=request.text("url", "")))
            return True

    async def main() -> str | None:
        behaviours = {**BEHAVIOURS, "/robots.txt": robots, "/redirect-to": To()}
        hosts = (HOST, OTHER)
        async with world(kind, behaviours, hosts=hosts, respect_robots=True) as made:
            return await made.reason(url)

    assert run(main) == "disallowed_by_robots"
    assert robots.asked == {HOST: 1, OTHER: 1}


@pytest.mark.parametrize("name", ["img2ds", "img2dataset", "MyBot", "mine"])
def test_the_names_that_we_answer_to(kind: str, name: str) -> None:
    robots = Robots(reply(f"User-agent: {name}\nDisallow: /\n".encode()))
    given = {"user_agent_token": "mybot", "user_agent": "mine/1.0 (me)"}
    assert outcomes(kind, robots, GOOD, **given) == ["disallowed_by_robots"]
    assert outcomes(kind, Robots(reply(b"User-agent: x\nDisallow: /\n")), GOOD, **given) == [None]


def concurrent(kind: str, robots: Robots, rows: int) -> Counter[str | None]:
    """The reasons of rows that ask at once."""

    async def main() -> Counter[str | None]:
        found: Counter[str | None] = Counter()

        async def one(there: World) -> None:
            found[await there.reason(GOOD)] += 1

        behaviours = {**BEHAVIOURS, "/robots.txt": robots}
        async with (
            world(kind, behaviours, respect_robots=True) as there,
            trio.open_nursery() as nursery,
        ):
            for _ in range(rows):
                nursery.start_soon(one, there)
        return found

    return run(main)


def test_rows_at_once_wait_for_one_request(kind: str) -> None:
    robots = Robots(seconds=5)
    assert concurrent(kind, robots, 20) == {None: 20}
    assert robots.asked == {HOST: 1}


def test_rows_at_once_share_a_failure(kind: str) -> None:
    """They end with it: that of each one after the other would take 20 time-outs."""
    robots = Robots(b"", seconds=11)
    assert concurrent(kind, robots, 20) == {"stalled": 20}
    assert robots.asked == {HOST: 1}


def test_a_file_holds_for_a_day_and_an_error_for_a_minute(kind: str) -> None:
    async def asked(robots: Robots, seconds: float) -> int:
        behaviours = {**BEHAVIOURS, "/robots.txt": robots}
        async with world(kind, behaviours, respect_robots=True) as there:
            await there.reason(GOOD)
            await trio.sleep(seconds - 1)
            await there.reason(GOOD)
            before = robots.asked.total()
            await trio.sleep(2)
            await there.reason(GOOD)
            return before + 10 * robots.asked.total()

    async def main() -> list[int]:
        return [
            await asked(Robots(), LIFETIME),
            await asked(Robots(reply(b"", status=500)), ERROR_LIFETIME),
        ]

    assert run(main, limit=2 * LIFETIME) == [21, 21]
