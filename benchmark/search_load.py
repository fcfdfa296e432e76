"""Many clients that search at once, each of which asks again as soon as it is answered.

`python -m benchmark.search_load HOST:PORT` prints latencies, the share of 200s and the generator's
own CPU time as JSON. It is a process of its own, on bare sockets, so that it takes little of the
machine it shares with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from laion.clip.shapes import BOTH, COLOURS, SHAPES

#: Results that the page asks for at a time.
RESULTS = 40
#: Texts of the repeated queries.
REPEATED = 50
#: Images of results that are asked for: a page of them.
IMAGES = 40
#: What is asked for.
KINDS = {
    "distinct": "texts, each of them once",
    "repeated": "the same few texts",
    "fresh": "texts, each by a connection of its own",
    "image": "images of results, from the shards",
    "page": "the files of the page",
}
#: Seconds without records: the server's caches and threads are set up.
WARM_UP = 2.0

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: (\d+)", re.IGNORECASE)


@dataclass(slots=True)
class Load:
    """What the clients share: the requests still to be sent, and what came of those sent.

    Attributes:
        fresh: whether each request gets a connection of its own.
        stopping: when nothing more is sent, on the clock of `time.perf_counter`.
        answers: all of them, those of the warm-up included.
    """

    requests: Iterator[bytes]
    fresh: bool
    recording: float
    stopping: float
    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    answers: int = 0

    def record(self, started: float, status: int) -> None:
        self.answers += 1
        if started >= self.recording:
            self.statuses[status] += 1
            if status == 200:
                self.milliseconds.append(1000 * (time.perf_counter() - started))


class Client(asyncio.Protocol):
    """One client. `done` is set when it has stopped."""

    def __init__(self, load: Load, host: str, port: int) -> None:
        self._load = load
        self._place = (host, port)
        self._loop = asyncio.get_running_loop()
        self._connecting: asyncio.Task[object] | None = None
        self.done = self._loop.create_future()
        self._received = bytearray()
        self._started: float | None = None
        self.connect()

    def connect(self) -> None:
        if time.perf_counter() >= self._load.stopping:
            self.done.set_result(None)
            return
        self._started = time.perf_counter()
        coroutine = self._loop.create_connection(lambda: self, *self._place)
        self._connecting = self._loop.create_task(coroutine)
        self._connecting.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[object]) -> None:
        if task.exception() is not None:
            assert self._started is not None
            self._load.record(self._started, 0)
            self._loop.call_later(0.1, self.connect)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        if time.perf_counter() >= self._load.stopping:
            self._started = None
            self._transport.close()
            return
        self._received.clear()
        if not self._load.fresh or self._started is None:
            self._started = time.perf_counter()
        self._transport.write(next(self._load.requests))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not separator or length is None or len(body) < int(length[1]):
            return
        assert self._started is not None
        self._load.record(self._started, int(head[9:12]))
        self._started = None
        wait = _RETRY_AFTER.search(head)
        if wait is not None:
            self._loop.call_later(int(wait[1]), self._again)
        else:
            self._again()

    def _again(self) -> None:
        if self._load.fresh:
            self._transport.close()
        elif not self._transport.is_closing():
            self._send()

    def connection_lost(self, reason: Exception | None) -> None:
        if self._started is not None:
            self._load.record(self._started, 0)
            self._started = None
        self._loop.call_soon(self.connect)


def texts(repeated: bool) -> Iterator[str]:
    """Texts that the model knows, with a number so that they are distinct; or the same few."""
    known = [form.format(c=c, s=s) for form in BOTH for c in COLOURS for s in SHAPES]
    if repeated:
        yield from itertools.cycle(known[:REPEATED])
    seed = os.getpid()
    for number in itertools.count():
        yield f"{known[number % len(known)]} number {seed} {number}"


def paths(kind: str) -> Iterator[str]:
    """Paths of requests, without end."""
    if kind == "page":
        yield from itertools.cycle(["/", "/static/main.js", "/static/page.css", "/static/grid.js"])
    if kind == "image":
        yield from (f"/api/picture/{row}" for row in itertools.cycle(range(IMAGES)))
    for text in texts(kind == "repeated"):
        yield f"/api/search?{urllib.parse.urlencode({'text': text, 'k': RESULTS})}"


async def ask(host: str, port: int, clients: int, seconds: float, kind: str) -> Load:
    """Ask for `seconds`; see `KINDS` for the kind of requests."""

    def requests() -> Iterator[bytes]:
        for path in paths(kind):
            yield f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()

    start = time.perf_counter() + WARM_UP
    load = Load(requests(), kind == "fresh", start, start + seconds)
    await asyncio.gather(*(Client(load, host, port).done for _ in range(clients)))
    return load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", metavar="HOST:PORT")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--kind", choices=tuple(KINDS), default="distinct")
    options = parser.parse_args()
    host, _, port = options.place.rpartition(":")
    started, spent = time.perf_counter(), time.process_time()
    load = asyncio.run(ask(host, int(port), options.clients, options.seconds, options.kind))
    spent = (time.process_time() - spent) / (time.perf_counter() - started)
    times = sorted(load.milliseconds)
    total = sum(load.statuses.values())
    report = {
        "clients": options.clients,
        "kind": options.kind,
        "per_second": round(total / options.seconds),
        **{f"p{p}_ms": round(times[len(times) * p // 100], 1) for p in (50, 95, 99) if times},
        "ok": round(load.statuses[200] / max(total, 1), 4),
        "answers": load.answers,
        "statuses": dict(load.statuses),
        "generator_cores": round(spent, 2),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
