"""`laion serve` as a whole: uploads that spin, proxies, the end."""

from __future__ import annotations

import http.client
import json
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from laion.web.routes import MAX_CLIENT_IMAGES
from tests.conftest import worker_path
from tests.laion.web.browser import serve_process
from tests.laion.web.shape_dataset import ShapeSet
from tests.server.fatal_decoder.images import fatal

#: Seconds after which a test that waits has failed.
TIMEOUT = 60.0


def get(address: str, path: str, source: str = "127.0.0.1", **headers: str) -> tuple[int, Any]:
    """Return the status and the body, from JSON if it is that."""
    return _request(address, source, "GET", path, headers=headers)


def upload(address: str, image: bytes, source: str = "127.0.0.1") -> tuple[int, Any]:
    """Search by an image."""
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
    form = head + image + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return _request(address, source, "POST", "/api/search?k=1", form, headers)


def _request(address: str, source: str, *request: Any, **named: Any) -> tuple[int, Any]:
    place = urlsplit(address)
    connection = http.client.HTTPConnection(
        place.hostname or "", place.port, timeout=TIMEOUT, source_address=(source, 0)
    )
    with closing(connection):
        connection.request(*request, **named)
        response = connection.getresponse()
        body = response.read()
        is_json = response.headers["content-type"] == "application/json"
        return response.status, json.loads(body) if is_json else body


def decoders(pid: int) -> list[int]:
    """Child processes of a server."""
    return [
        int(child)
        for children in Path(f"/proc/{pid}/task").glob("*/children")
        for child in children.read_text().split()
    ]


def test_while_uploads_spin_texts_are_answered(shapes: ShapeSet, tmp_path: Path) -> None:
    """And the server stops at Ctrl-C, which `serve_process` checks."""
    mark = tmp_path / "spinning"
    os.mkfifo(mark)
    environment = {"PYTHONPATH": worker_path(), "IMG2DS_TEST_SPINNING": str(mark)}
    flags = ["--max_decode_time", "600"]
    with serve_process(shapes.index, *flags, environment=environment) as (address, process):
        ends: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def spin() -> None:
            try:
                ends.put(upload(address, fatal(b"spin")))
            except (OSError, http.client.HTTPException) as error:
                ends.put(error)

        spinning = [threading.Thread(target=spin) for _ in range(MAX_CLIENT_IMAGES + 1)]
        for thread in spinning:
            thread.start()
        mark.open().close()  # returns when a decoder spins
        busy = "the server is busy: too many images to search by at once"
        assert ends.get(timeout=TIMEOUT) == (503, {"error": busy})
        for text in ("a red circle", "a blue star"):
            status, answer = get(address, f"/api/search?text={text.replace(' ', '+')}&k=3")
            assert (status, len(answer["results"])) == (200, 3)
        assert ends.empty()
    for thread in spinning:
        thread.join(TIMEOUT)
    assert decoders(process.pid) == []


@pytest.fixture(scope="module")
def strict(shapes: ShapeSet) -> Iterator[str]:
    """The address of a server with a proxy at 127.0.0.2, and little patience with images."""
    environment = {"PYTHONPATH": worker_path()}
    flags = ["--max_decode_time", "0.5", "--trusted_proxy", "127.0.0.2", "--rate_limit", "2"]
    with serve_process(shapes.index, *flags, environment=environment) as (address, _):
        yield address


def test_an_upload_that_takes_too_long_is_refused_and_the_next_one_is_answered(
    strict: str, shapes: ShapeSet
) -> None:
    refused = {"error": "image: decoding takes more than 0.5 s of CPU"}
    assert upload(strict, fatal(b"spin"), "127.0.0.3") == (400, refused)
    status, answer = upload(strict, shapes.bodies[5], "127.0.0.3")
    assert (status, answer["results"][0]["id"]) == (200, 5)


@pytest.mark.parametrize(
    ("source", "statuses"), [("127.0.0.1", [200, 200, 429, 429]), ("127.0.0.2", [200] * 4)]
)
def test_x_forwarded_for_counts_from_a_trusted_proxy_only(
    strict: str, source: str, statuses: list[int]
) -> None:
    clients = [{"X-Forwarded-For": f"198.51.100.{number}"} for number in range(4)]
    path = "/api/search?id=1"
    assert [get(strict, path, source, **client)[0] for client in clients] == statuses
