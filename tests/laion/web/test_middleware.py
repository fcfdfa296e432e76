"""Security headers, allowed hosts and sites, rate limit, and what clients must never see."""

from __future__ import annotations

import re
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from img2ds.config.flags import Flags
from img2ds.core.failure import UsageError
from laion.web.app import STATIC
from laion.web.middleware import MAX_CLIENTS, AllowedHosts, RateLimit, client_key
from laion.web.options import ServeOptions
from laion.web.service import Service
from laion.web.stage import CONNECTIONS
from tests.laion.web.conftest import Make


async def nothing(*_: Any) -> None:
    return None


@pytest.mark.parametrize(
    "path", ["/", "/api/health", "/api/search", "/api/picture/0", "/static/main.js", "/nowhere"]
)
def test_every_answer_has_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    if "sandbox" not in policy:
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


def test_the_page_obeys_its_content_policy() -> None:
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\ssrc=)|\son\w+=|\sstyle=|<style|javascript:", page)
    for file in STATIC.iterdir():
        text = file.read_text()
        assert not re.search(r"\beval\(|new Function|https?://(?!www\.w3\.org/)[\w.]+/", text), file
    # The only place that parses markup, of a constant string.
    scripts = "".join(path.read_text() for path in STATIC.glob("*.js"))
    assert re.findall(r"(?:innerHTML|outerHTML|insertAdjacentHTML).*", scripts) == [
        (
            'innerHTML = \'<svg viewBox="0 0 20 20" aria-hidden="true">'
            '<path d="m5.5 5.5 9 9m0-9-9 9"/></svg>\';'
        )
    ]


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:1234", True),
        ("localhost", True),
        ("LOCALHOST:80", True),
        ("[::1]:1234", True),
        ("192.168.1.7:1234", True),
        ("search.example", True),
        ("search.example:8443", True),
        ("evil.example", False),
        ("search.example.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
def test_unknown_host_names_are_rejected(client: TestClient, host: str, known: bool) -> None:
    answer = client.get("/api/health", headers={"Host": host})
    assert answer.status_code == (200 if known else 400)
    if not known:
        assert "--allowed_hosts" in answer.json()["error"]


def test_a_star_allows_every_name() -> None:
    assert AllowedHosts(nothing, ["*"]).allows("anything.example")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
    ],
)
def test_pages_of_other_sites_cannot_search(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.get("/api/search?text=a", headers=headers).status_code == status


def test_the_rate_limit_counts_searches_fully_and_pages_little(make_client: Make) -> None:
    client = make_client(rate_limit=3)
    assert [client.get("/api/search?id=1").status_code for _ in range(4)] == [200] * 3 + [429]
    refused = client.get("/api/search?id=1")
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert list(refused.json()) == ["error"]
    client = make_client(rate_limit=3)
    assert {client.get("/").status_code for _ in range(100)} == {200}


def test_the_limit_passes_with_time_and_is_each_clients_own() -> None:
    now = 0.0
    limit = RateLimit(nothing, 60, lambda: now)
    assert [limit.take("a", 1) for _ in range(60)] == [0] * 60
    assert limit.take("a", 1) == 1
    assert limit.take("b", 1) == 0
    now = 0.5
    assert limit.take("a", 1) == 1, "a rejection costs nothing, and half a token is not enough"
    now = 1.5
    assert limit.take("a", 1) == 0
    now = 10_000
    assert [limit.take("a", 1) for _ in range(61)].count(0) == 60


def test_clients_are_forgotten_before_they_fill_the_memory() -> None:
    limit = RateLimit(nothing, 60, lambda: 0.0)
    for number in range(MAX_CLIENTS + 500):
        limit.take(str(number), 1)
    assert len(limit._buckets) == MAX_CLIENTS


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


def test_an_internal_error_shows_no_traceback(
    make_client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("/secret/path and a secret")

    monkeypatch.setattr(Service, "search", broken)
    client = make_client(raise_server_exceptions=False)
    answer = client.get("/api/search?text=a")
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error: see the server's log"}
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd"],
)
def test_only_static_files_are_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PUT", "/api/search", 405), ("POST", "/", 405), ("DELETE", "/api/health", 405),
     ("GET", "/api", 404), ("GET", "/.env", 404)],
)  # fmt: skip
def test_unknown_paths_and_methods_get_json_errors(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_connections_above_the_limit_get_503(address: str) -> None:
    """By a real server, which serves again once connections close."""
    with ExitStack() as stack:
        place = urlsplit(address)

        def connect() -> HTTPConnection:
            connection = HTTPConnection(place.hostname or "", place.port, timeout=60)
            stack.callback(connection.close)
            connection.connect()
            return connection

        def status(connection: HTTPConnection) -> int:
            connection.request("GET", "/api/health")
            answer = connection.getresponse()
            answer.read()
            return answer.status

        first = connect()
        assert status(first) == 200
        held = [connect() for _ in range(CONNECTIONS)]
        # Connections are accepted in order, so all earlier ones are open once this one answers.
        assert status(held[-1]) == 503
        held[0].close()
        held[1].close()
        last = connect()
        while status(last) == 503:
            last.close()
        for connection in held:
            connection.close()


def test_by_default_only_this_machine_is_served() -> None:
    assert ServeOptions(index="x").host == "127.0.0.1"
    assert ServeOptions(index="x").rate_limit > 0
    assert not ServeOptions(index="x").allow_private_addresses


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({}, "--index is required"),
        ({"index": "x", "port": 70_000}, "--port must be from 0 to 65535"),
        ({"index": "x", "rate_limit": -1}, "--rate_limit must be at least 0"),
        ({"index": "x", "max_upload_bytes": "big"}, "--max_upload_bytes takes a number of bytes"),
    ],
)
def test_wrong_flags(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ServeOptions(**Flags.of("laion serve", ServeOptions).read(flags))
