"""Security headers, allowed hosts and sites, and what clients must never see; flags."""

from __future__ import annotations

import re
import resource
from typing import Any

import pytest
from starlette.testclient import TestClient

from img2ds.config.flags import Flags
from img2ds.core.failure import UsageError
from laion.web.batch_queue import Overloaded
from laion.web.middleware import AllowedHosts
from laion.web.options import ServeOptions
from laion.web.page_files import STATIC
from laion.web.service import Service
from laion.web.stage import allowed_connections
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
    for name in ("index.html", "api.html"):
        page = (STATIC / name).read_text()
        assert not re.search(r"<script(?![^>]*\ssrc=)|\son\w+=|\sstyle=|<style|javascript:", page)
    for file in STATIC.iterdir():
        text = file.read_text()
        assert not re.search(r"\beval\(|new Function|https?://(?!www\.w3\.org/)[\w.]+/", text), file
    # Nothing parses markup.
    scripts = "".join(path.read_text() for path in STATIC.glob("*.js"))
    assert not re.search("innerHTML|outerHTML|insertAdjacentHTML|document.write", scripts)


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


def test_an_overloaded_server_says_when_to_try_again(
    make_client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overloaded(*_: Any) -> None:
        raise Overloaded("too many requests are waiting", 7)

    monkeypatch.setattr(Service, "search", overloaded)
    answer = make_client().get("/api/search?text=a")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "7"
    assert answer.json() == {"error": "the server is busy: too many requests are waiting"}
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
     ("GET", "/apis", 404), ("GET", "/.env", 404)],
)  # fmt: skip
def test_unknown_paths_and_methods_get_json_errors(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_pages_of_allowed_origins_may_search(make_client: Make) -> None:
    client = make_client(rate_limit=1, origins=("http://127.0.0.1:1235",))
    foreign = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}
    allowed = {**foreign, "Origin": "http://127.0.0.1:1235"}
    for status in (200, 429):
        answer = client.post("/knn-service", json={"text": "x"}, headers=allowed)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "http://127.0.0.1:1235"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert answer.headers["vary"] == "Origin"
    asked = {**allowed, "Access-Control-Request-Method": "POST"}
    answer = client.options("/knn-service", headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-headers"]) == (
        204, "Content-Type",
    )  # fmt: skip
    for origin in ("http://127.0.0.1:1236", "http://127.0.0.1", "null"):
        answer = client.get("/indices-list", headers={**foreign, "Origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


def test_any_origin_may_be_allowed(make_client: Make) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://h.example"}
    answer = make_client(origins=("*",)).get("/indices-list", headers=headers)
    assert answer.headers["access-control-allow-origin"] == "https://h.example"


def test_by_default_only_this_machine_is_served() -> None:
    assert ServeOptions(index=("x",)).host == "127.0.0.1"
    assert ServeOptions(index=("x",)).rate_limit > 0
    assert not ServeOptions(index=("x",)).allow_private_addresses


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({}, "--index is required"),
        ({"index": "x", "port": 70_000}, "--port must be from 0 to 65535"),
        ({"index": "x", "rate_limit": -1}, "--rate_limit must be at least 0"),
        ({"index": "x", "max_upload_bytes": "big"}, "--max_upload_bytes takes a number of bytes"),
        ({"index": "x", "trusted_proxy": "10.0.0.0/8,nginx"}, "such as 10.0.0.0/8, got 'nginx'"),
        ({"index": "x", "max_connections": 0}, "--max_connections must be at least 1"),
        ({"index": "x", "max_client_connections": 0}, "--max_client_connections must be at least"),
        ({"index": "x", "max_decode_time": 0}, "--max_decode_time must be"),
    ],
)
def test_wrong_flags(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ServeOptions(**Flags.of("laion serve", ServeOptions).read(flags))


def test_trusted_proxies() -> None:
    flags = Flags.of("laion serve", ServeOptions)
    given = flags.read({"index": "x", "trusted_proxy": "10.0.0.0/8,192.0.2.1"})
    assert ServeOptions(**given).proxies == ("10.0.0.0/8", "192.0.2.1")
    assert ServeOptions(index=("x",)).proxies == ()
    assert ServeOptions(index=("x",), behind_proxy=True).proxies == ("127.0.0.0/8", "::1")


def test_open_files_bound_the_connections(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = (1024, 1024)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limit)
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert allowed_connections(500) == 500
    assert capsys.readouterr().err == ""
    assert allowed_connections(5000) == 1024 - 256
    assert capsys.readouterr().err == (
        "laion serve: note: 768 connections at once instead of 5000, because this process may open "
        "1024 files: raise the limit with `ulimit -n 5256`\n"
    )
    limit = (256, 256)
    with pytest.raises(UsageError, match="may open 256 files only"):
        allowed_connections(1)
