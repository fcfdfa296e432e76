"""Hostile clients of `laion serve`, one kind at a time, while another client searches by texts.

All texts have to be answered, and the server with its decoders must not take more than it may.
"""

from __future__ import annotations

import http.client
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from math import isqrt
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from img2ds.downloader.process import raise_descriptor_limit
from laion.clip.tiny import write
from laion.knn.query_image import MAX_PIXELS
from tests.attack.bars import MOST_CPU, MOST_MEMORY, Line
from tests.attack.case import make_bodies
from tests.attack.pngs import image
from tests.attack.process_tree import ProcessTree
from tests.laion.web.browser import serve_process
from tests.laion.web.guarded_server import connect
from tests.laion.web.shape_dataset import make_shapes

#: Texts that are searched by in each case, and seconds that one may take at most.
TEXTS, PATIENCE = 20, 60.0
#: Connections of a client that a server does not let in all, and more than a server has.
IDLE, TOO_MANY = 520, 1100
#: Training of the model, which need not find anything.
_STEPS, _IMAGES = 1, 64
#: Searches of a client, of which a minute allows fewer.
SEARCHES = 150
#: CPU seconds of a connection or a request besides decoding.
_CPU_EACH = 0.01

Act = Callable[[str, ExitStack], str]


class SearchServer:
    """A server of shapes.

    Args:
        folder: for its index.
    """

    def __init__(self, folder: Path) -> None:
        model = folder / "model"
        model.mkdir(parents=True)
        raise_descriptor_limit()
        weights = write(str(model), seed=0, steps=_STEPS, count=_IMAGES)
        self._index = make_shapes(folder / "shapes", weights).index
        self._tree = ProcessTree(os.getpid())
        self._clients = iter(range(2, 250))
        self._texts = 0

    def run(self) -> list[Line]:
        """Attack. Returns what was found."""
        cases: list[tuple[str, Act, float]] = [
            ("texts alone", lambda *_: "", 0.0),
            (f"{IDLE} idle connections of a client", lambda a, h: idle(a, h, IDLE, 1), IDLE),
            (f"{TOO_MANY} idle connections of 55", lambda a, h: idle(a, h, TOO_MANY, 55), TOO_MANY),
            ("255 heads of a byte a moment", slow_heads, 255),
            *((f"8 uploads: {name}", uploading(make), 8 * seconds / _CPU_EACH)
              for name, (make, seconds) in UPLOADS.items()),
            (f"{SEARCHES} searches with X-Forwarded-For", forwarded, SEARCHES),
        ]  # fmt: skip
        with serve_process(self._index, "--rate_limit", "120") as (address, _):
            self._search(address, 3)
            idle_bytes, lines, alone = self._tree.resident(), list[Line](), 0.0
            for name, act, count in cases:
                self._tree.forget_peak()
                began = self._tree.cpu()
                with ExitStack() as held:
                    said = act(address, held)
                    answers, times = self._search(address, TEXTS)
                cpu = self._tree.cpu() - began
                alone = alone or cpu
                lost = TEXTS - answers[200]
                median = 1000 * statistics.median(times)
                outcome = f"{said}texts: {lost} lost, p50 {median:.0f} ms"
                most = 2 * alone + max(MOST_CPU, count * _CPU_EACH)
                lines.append(Line(
                    name, outcome, "", cpu, most, self._tree.peak() - idle_bytes, MOST_MEMORY,
                    failed=lost > 0 or "all answered" in said,
                ))  # fmt: skip
        return lines

    def _search(self, address: str, count: int) -> tuple[Counter[int], list[float]]:
        """Search by texts that were not asked for before, from an address of its own."""
        source = f"127.0.0.{next(self._clients)}"
        statuses, times = Counter[int](), []
        for _ in range(count):
            self._texts += 1
            started = time.monotonic()
            statuses[get(address, f"a red circle {self._texts}", source)] += 1
            times.append(time.monotonic() - started)
        return statuses, times


def get(address: str, text: str, source: str, **headers: str) -> int:
    """Search by a text. Returns the status; 0 if there is no answer."""
    path = f"/api/search?text={quote(text)}&k=3"
    return ask(address, source, "GET", path, headers=headers)


def ask(address: str, source: str, *request: Any, **named: Any) -> int:
    """Send a request. Returns the status; 0 if there is no answer."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(
        place.hostname or "", place.port, timeout=PATIENCE, source_address=(source, 0)
    )
    with closing(connection):
        try:
            connection.request(*request, **named)
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            return 0
        return response.status


def idle(address: str, held: ExitStack, count: int, clients: int) -> str:
    """Connections that send nothing."""
    place = urlsplit(address)
    for number in range(count):
        source = f"127.0.1.{1 + number % clients}"
        held.enter_context(connect((place.hostname or "", place.port or 0), source))
    return ""


def slow_heads(address: str, held: ExitStack) -> str:
    """Heads that do not end; their connections are replaced as the server closes them."""
    place = urlsplit(address)
    server = (place.hostname or "", place.port or 0)
    sockets = [held.enter_context(connect(server, "127.0.1.1")) for _ in range(255)]
    ended = threading.Event()

    def send() -> None:
        number = 0
        while not ended.wait(0.001):
            with suppress(OSError):
                sockets[number % len(sockets)].sendall(b"G" if number < 255 else b"x")
            number += 1

    thread = threading.Thread(target=send)
    thread.start()
    held.callback(thread.join)
    held.callback(ended.set)
    return ""


def uploading(make: Callable[[], bytes]) -> Act:
    """Upload an image by eight clients at once; they are waited for in the end."""

    def act(address: str, held: ExitStack) -> str:
        body = make()
        head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        form = head + body + b"\r\n--b--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=b"}

        def upload(number: int) -> None:
            ask(address, f"127.0.2.{1 + number}", "POST", "/api/search?k=1", form, headers)

        threads = [threading.Thread(target=upload, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
            held.callback(thread.join)
        return f"{len(body):,} bytes; "

    return act


def forwarded(address: str, _: ExitStack) -> str:
    """Search as many clients, by a header that anybody can send."""
    statuses = Counter(
        get(address, "a blue star", "127.0.3.1", **{"X-Forwarded-For": f"198.51.100.{number}"})
        for number in range(SEARCHES)
    )
    refused = statuses[429]
    return f"{refused} refused; " if refused else "all answered; "


def _kind(name: str) -> Callable[[], bytes]:
    return lambda: make_bodies(name)[0]


_SIDE = isqrt(MAX_PIXELS)
#: Images, and seconds of CPU that each may take: those of 40 megapixels as long as two honest ones.
UPLOADS: dict[str, tuple[Callable[[], bytes], float]] = {
    "JPEGs of 100 scans": (_kind("jpeg, progressive, 100 scans of 4 Mpx"), MOST_CPU),
    "RGBA of 16 bits": (lambda: image(_SIDE, _SIDE, 16, 6), 2 * MOST_CPU),
    "bits": (lambda: image(_SIDE, _SIDE, 1, 0), MOST_CPU),
    "WebPs of 65,536 groups": (_kind("webp, 65,536 groups of a code for 1 Mpx"), MOST_CPU),
    "JPEG 2000 of 65,535 layers": (_kind("jpeg 2000, 65,535 layers of 1 Mpx"), MOST_CPU),
}
