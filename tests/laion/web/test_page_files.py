"""The files of the page: as they are, compressed, and not again while they do not change."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from laion.web.page_files import STATIC, PageFiles

#: Paths, their files and media types.
FILES = [
    ("/", "index.html", "text/html; charset=utf-8"),
    ("/api", "api.html", "text/html; charset=utf-8"),
    ("/static/main.js", "main.js", "text/javascript; charset=utf-8"),
    ("/static/page.css", "page.css", "text/css; charset=utf-8"),
    ("/static/icon.svg", "icon.svg", "image/svg+xml"),
]


@pytest.mark.parametrize(("path", "name", "media"), FILES)
def test_files(client: TestClient, path: str, name: str, media: str) -> None:
    body = (STATIC / name).read_bytes().replace(b"{{ title }}", b"laion search")
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert (plain.status_code, plain.content) == (200, body)
    assert plain.headers["content-type"] == media
    assert "content-encoding" not in plain.headers
    compressed = client.get(path, headers={"Accept-Encoding": "br, gzip"})
    assert compressed.content == body  # the client unpacks it
    assert compressed.headers["content-encoding"] == "gzip"
    assert compressed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    again = client.get(path, headers={"If-None-Match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "content-security-policy" in again.headers
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")


def test_every_file_is_served(client: TestClient) -> None:
    for path in STATIC.iterdir():
        assert client.get(f"/static/{path.name}").status_code == 200
    assert client.get("/static/").status_code == 404
    assert client.get("/static/app.py").status_code == 404


def test_the_title_is_text_and_never_markup() -> None:
    files = PageFiles("<b>Cats & 'dogs'</b>")
    for name in ("index.html", "api.html"):
        body = files.body(name).decode()
        assert "&lt;b&gt;Cats &amp; &#x27;dogs&#x27;&lt;/b&gt;</title>" in body
        assert "<b>" not in body
