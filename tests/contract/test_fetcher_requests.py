"""The request of every fetcher: request line, Host and headers, byte for byte where it matters."""

from __future__ import annotations

from typing import Any

import pytest

from img2ds import __version__
from img2ds.config.options import IMAGE_FORMATS
from img2ds.core.failure import Failure, UsageError
from img2ds.net.request import accept
from tests.contract.fetcher_setups import FETCHERS, HOST, Everywhere, Notes, world
from tests.run_on_virtual_clock import run
from tests.server.web import Peer, reply

pytestmark = pytest.mark.parametrize("kind", FETCHERS)


class Wire:
    """A greeting that answers one request and keeps its head as it came."""

    def __init__(self) -> None:
        self.head = b""

    async def __call__(self, peer: Peer) -> bool:
        self.head = await peer.read_head() or b""
        await peer.send(reply(b"body", connection="close"))
        return False

    @property
    def lines(self) -> list[str]:
        return self.head.decode("utf-8").split("\r\n")[:-2]

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        pairs = (line.split(": ", 1) for line in self.lines[1:])
        return [value for key, value in pairs if key.lower() == name.lower()]


def sent(kind: str, url: str = f"http://{HOST}/good.jpg", **options: Any) -> Wire:
    """The request for `url`."""
    wire = Wire()

    async def main() -> None:
        async with world(kind, greeting=wire, **options) as there:
            assert await there.body(url) == b"body"

    run(main)
    return wire


def test_request(kind: str) -> None:
    wire = sent(kind)
    assert wire.lines[0] == "GET /good.jpg HTTP/1.1"
    assert wire.values("Host") == [HOST]
    assert wire.values("Accept") == [accept(IMAGE_FORMATS)]
    assert wire.values("Accept-Encoding") == ["identity"]
    assert wire.values("Cookie") == wire.values("Referer") == wire.values("Authorization") == []
    (agent,) = wire.values("User-Agent")
    assert agent.startswith(f"img2ds/{__version__} (+https://")


def test_user_agent(kind: str) -> None:
    assert sent(kind, user_agent="mine/1.0 (me)").values("User-Agent") == ["mine/1.0 (me)"]
    (agent,) = sent(kind, user_agent_token="mybot").values("User-Agent")
    assert agent.startswith(f"img2ds/{__version__} (compatible; mybot; +https://")


def test_further_headers(kind: str) -> None:
    headers = {"Referer": "http://a.example/", "accept": "image/webp", "X-Name": "Zoë"}
    wire = sent(kind, headers=headers)
    assert wire.values("Referer") == ["http://a.example/"]
    assert wire.values("Accept") == ["image/webp"]
    assert wire.values("X-Name") == ["Zoë"]


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding"])
def test_headers_that_follow_from_the_request(kind: str, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        sent(kind, headers={name: "1"})


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("", "/"),
        ("?a=b", "/?a=b"),
        ("/a b/c.jpg?d=e f", "/a%20b/c.jpg?d=e%20f"),
        ("/bücher/日本.jpg?q=ä", "/b%C3%BCcher/%E6%97%A5%E6%9C%AC.jpg?q=%C3%A4"),
        ("/already%20done%2F.jpg", "/already%20done%2F.jpg"),
        ("/%7Etilde/~tilde", "/%7Etilde/~tilde"),
        ("/100%/50%zz?%", "/100%/50%zz?%"),
        ("/a;b=c/d;e?f;g", "/a;b=c/d;e?f;g"),
        ("/x?y={z}|[w]#fragment", "/x?y=%7Bz%7D|[w]"),
        ('/"quoted"<>', "/%22quoted%22%3C%3E"),
        ("//double//slash", "//double//slash"),
        ("/a/../b/./c", "/b/c"),
    ],
)
def test_request_target(kind: str, url: str, target: str) -> None:
    line = sent(kind, f"http://{HOST}{url}").lines[0]
    assert line == f"GET {target} HTTP/1.1"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (f"http://{HOST}:80/", HOST),
        (f"http://{HOST.upper()}/", HOST),
        (f"http://{HOST}:8080/", f"{HOST}:8080"),
        (f"http://user:secret@{HOST}/", HOST),
        ("http://bücher.example/", "xn--bcher-kva.example"),
        ("http://BÜCHER.example:8080/x", "xn--bcher-kva.example:8080"),
        (f"  http:\\\\{HOST}\\x\n", HOST),
    ],
)
def test_host(kind: str, url: str, host: str) -> None:
    wire = Wire()

    async def main() -> None:
        async with world(kind, greeting=wire, hosts=["*", HOST]) as there:
            port = there.http.port
            ways = (f"*:8080:127.0.0.1:{port}",)
            async with world(kind, greeting=wire, hosts=["*"], connect_to=ways) as further:
                assert await further.body(url) == b"body"

    run(main)
    assert wire.values("Host") == [host]
    assert wire.values("Authorization") == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "bad_url"),
        ("", "bad_url"),
        ("   ", "bad_url"),
        ("pics.example/x.jpg", "bad_url"),
        ("http://", "bad_url"),
        ("http://a..b/", "bad_url"),
        ("http://pics.example:99999/", "bad_url"),
        ("http://pics.example:port/", "bad_url"),
        ("http://[::1/", "bad_url"),
        ("http://pics.example/" + "x" * 70_000, "bad_url"),
        ("ftp://pics.example/x.jpg", "unsupported_scheme"),
        ("data:image/png;base64,AAAA", "unsupported_scheme"),
        ("javascript:alert(1)", "unsupported_scheme"),
    ],
)
def test_urls_that_cannot_be_asked_for(kind: str, url: str | None, reason: str) -> None:
    async def main() -> None:
        async with world(kind, Everywhere(Notes()), hosts=["*"]) as there:
            with there.budget.lease() as lease:
                failed = await there.fetcher.fetch(url, there.context(lease))
            assert isinstance(failed, Failure)
            assert failed.reason == reason
            assert there.http.connections == 0

    run(main)
