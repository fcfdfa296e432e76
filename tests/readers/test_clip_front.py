"""clip-retrieval's page, in a browser, against a real `laion serve`."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.laion.clip.trained_model import trained_once


class FrontHandler(SimpleHTTPRequestHandler):
    """The built page, and the configuration that `clip-retrieval front` answers with."""

    config: dict[str, str]

    def do_GET(self) -> None:
        if urlsplit(self.path).path != "/config.json":
            super().do_GET()
            return
        body = json.dumps(self.config).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def front() -> Iterator[ThreadingHTTPServer]:
    """A server of the page that knows no backend yet."""
    try:
        build = Path(str(distribution("clip-retrieval").locate_file("front/build")))
    except PackageNotFoundError:
        pytest.skip("clip-retrieval is not installed: make compat")
    handler = functools.partial(FrontHandler, directory=str(build))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_the_page_searches_by_text_and_by_image(
    front: ThreadingHTTPServer, request: pytest.FixtureRequest, tmp_path_factory: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    for name in ("open_clip", "faiss", "uvicorn", "playwright.sync_api"):
        pytest.importorskip(name)
    from tests.laion.web.browser import browser, chromium, serving
    from tests.laion.web.shape_dataset import make_shapes

    chromium()
    cache: Any = request.config.cache
    model = trained_once(tmp_path_factory.mktemp("tiny"), cache and cache.mkdir("tiny_clip"))
    shapes = make_shapes(tmp_path_factory.mktemp("shapes"), model)
    (tmp_path / "image.jpg").write_bytes(shapes.bodies[20])
    page_address = f"http://127.0.0.1:{front.server_address[1]}"
    indices = Path(f"first={shapes.index},second={shapes.index}")
    flags = ("--allowed_origins", page_address)
    with serving(indices, *flags) as address, browser() as running:
        FrontHandler.config = {"defaultBackend": address, "defaultIndex": "", "urlColumn": "url"}
        context = running.new_context()
        # The dataset's URLs lead nowhere: the page hides images that do not load.
        context.route(
            lambda url: url.startswith("http://shapes.invalid/"),
            lambda route: route.fulfill(body=shapes.bodies[0], content_type="image/jpeg"),
        )
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(page_address)
        page.wait_for_selector("option[value=second]", state="attached")
        page.fill("#searchBar", "a red star")
        page.press("#searchBar", "Enter")
        page.wait_for_selector("#products figure")
        captions = page.eval_on_selector_all("#products img.pic", "all => all.map(i => i.title)")
        assert len(captions) >= 40, "the page fetches more metadata until it is full"
        assert {"red", "star"} <= set(captions[0].split())
        assert parse_qs(urlsplit(page.url).query)["index"] == ["first"]
        page.set_input_files("#filechooser", tmp_path / "image.jpg")
        page.wait_for_selector('#products figure:first-child img.pic[src$="/20.jpg"]')
        assert faults == []
        context.close()
