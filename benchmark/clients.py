"""HTTP clients that fetch a list and throw the bodies away: `python -m benchmark.clients NAME ...`

Prints how many bodies and bytes came, as JSON. Runs in the Python that has the client: the clients'
virtual environment or the benchmark's own, so it imports only what the client named needs.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path


class Sink:
    """Counts bodies that came whole."""

    def __init__(self) -> None:
        self.bodies = 0
        self.bytes = 0

    def add(self, size: int) -> None:
        self.bodies += 1
        self.bytes += size


def _on_trio(
    urls: list[str], slots: int, fetch: Callable[[str], Awaitable[int]], sink: Sink
) -> None:
    """`slots` tasks that take URLs until there are none left."""
    import trio

    waiting = iter(urls)

    async def slot() -> None:
        for url in waiting:
            sink.add(await fetch(url))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(slots):
                nursery.start_soon(slot)

    trio.run(main)


def bare(urls: list[str], options: argparse.Namespace, sink: Sink) -> None:
    """The floor."""
    from benchmark.bare import Fetcher
    from benchmark.world import NAME_SERVER

    context = ssl.create_default_context(cafile=options.ca_bundle)
    fetcher = Fetcher(NAME_SERVER, context, options.keep)

    async def fetch(url: str) -> int:
        return len(await fetcher.fetch(url))

    _on_trio(urls, options.slots, fetch, sink)


def img2ds(urls: list[str], options: argparse.Namespace, sink: Sink) -> None:
    """`--name trio` and `--name asks`: img2ds's fetchers, called as its slots call them."""
    from img2ds.config.options import NetworkOptions
    from img2ds.core.sample import Fetched
    from img2ds.net.budget import Budget
    from img2ds.net.context import FetchContext
    from img2ds.net.fetcher import Fetcher, open_fetcher

    made: list[Fetcher] = []
    network = NetworkOptions(
        fetcher=options.name, thread_count=options.slots, ca_bundle=options.ca_bundle,
        allow_private_addresses=True,
    )  # fmt: skip
    budget = Budget(1 << 30)

    async def fetch(url: str) -> int:
        if not made:
            made.append(open_fetcher(network))
        with budget.lease() as lease:
            fetched = await made[0].fetch(url, FetchContext.start(network, lease))
        if not isinstance(fetched, Fetched):
            raise SystemExit(f"{url}: {fetched.message}")
        return len(fetched.body)

    _on_trio(urls, options.slots, fetch, sink)


def aiohttp(urls: list[str], options: argparse.Namespace, sink: Sink) -> None:
    """aiohttp on asyncio's own loop."""
    from aiohttp import ClientSession, TCPConnector

    waiting = iter(urls)

    async def slot(session: ClientSession) -> None:
        for url in waiting:
            async with session.get(url) as answer:
                answer.raise_for_status()
                sink.add(len(await answer.read()))

    async def main() -> None:
        context = ssl.create_default_context(cafile=options.ca_bundle)
        connector = TCPConnector(limit=options.slots, ssl=context, force_close=not options.keep)
        async with ClientSession(connector=connector) as session:
            await asyncio.gather(*(slot(session) for _ in range(options.slots)))

    asyncio.run(main())


def pycurl(urls: list[str], options: argparse.Namespace, sink: Sink) -> None:
    """libcurl's multi interface with epoll."""
    import select

    import pycurl as curl  # type: ignore[import-not-found,import-untyped,unused-ignore]

    waiting = iter(urls)
    multi = curl.CurlMulti()
    epoll = select.epoll()
    watched: set[int] = set()
    timeout = -1

    def watch(what: int, fd: int, multi: object, data: object) -> None:
        if what == curl.POLL_REMOVE:
            if fd in watched:
                watched.remove(fd)
                epoll.unregister(fd)
            return
        mask = select.EPOLLIN * bool(what & curl.POLL_IN)
        mask |= select.EPOLLOUT * bool(what & curl.POLL_OUT)
        (epoll.modify if fd in watched else epoll.register)(fd, mask)
        watched.add(fd)

    def set_timeout(milliseconds: int) -> None:
        nonlocal timeout
        timeout = milliseconds

    multi.setopt(curl.M_SOCKETFUNCTION, watch)
    multi.setopt(curl.M_TIMERFUNCTION, set_timeout)
    multi.setopt(curl.M_PIPELINING, 0)
    bodies: dict[object, io.BytesIO] = {}

    def begin(handle: curl.Curl, url: str) -> None:
        bodies[handle] = io.BytesIO()
        handle.setopt(curl.URL, url)
        handle.setopt(curl.WRITEDATA, bodies[handle])
        multi.add_handle(handle)

    for url in _first(waiting, options.slots):
        handle = curl.Curl()
        handle.setopt(curl.CAINFO, options.ca_bundle)
        handle.setopt(curl.NOSIGNAL, 1)
        handle.setopt(curl.FAILONERROR, 1)
        handle.setopt(curl.HTTP_VERSION, curl.CURL_HTTP_VERSION_1_1)
        handle.setopt(curl.FORBID_REUSE, 0 if options.keep else 1)
        begin(handle, url)
    while bodies:
        events = epoll.poll(timeout / 1000 if timeout >= 0 else 1.0)
        if not events:
            multi.socket_action(curl.SOCKET_TIMEOUT, 0)
        for fd, event in events:
            if fd in watched:
                mask = curl.CSELECT_IN * bool(event & ~select.EPOLLOUT)
                mask |= curl.CSELECT_OUT * bool(event & select.EPOLLOUT)
                multi.socket_action(fd, mask)
        _, done, failed = multi.info_read()
        if failed:
            raise SystemExit(str(failed[0][1:]))
        for handle in done:
            multi.remove_handle(handle)
            sink.add(len(bodies.pop(handle).getvalue()))
            for url in _first(waiting, 1):
                begin(handle, url)


def _first(waiting: Iterator[str], count: int) -> list[str]:
    return [url for _, url in zip(range(count), waiting, strict=False)]


def img2dataset(urls: list[str], options: argparse.Namespace, sink: Sink) -> None:
    """img2dataset's download_image in a pool of threads, as its Downloader has it."""
    from multiprocessing.pool import ThreadPool

    from img2dataset.downloader import download_image_with_retry

    def download(row: tuple[int, str]) -> tuple[int, io.BytesIO | None, str | None]:
        answer: tuple[int, io.BytesIO | None, str | None] = download_image_with_retry(
            row, timeout=10, retries=0, user_agent_token=None, disallowed_header_directives=None
        )
        return answer

    with ThreadPool(options.slots) as pool:
        for key, stream, error in pool.imap_unordered(download, enumerate(urls)):
            if stream is None:
                raise SystemExit(f"{urls[key]}: {error}")
            sink.add(len(stream.getvalue()))


CLIENTS: dict[str, Callable[[list[str], argparse.Namespace, Sink], None]] = {
    "bare": bare,
    "trio": img2ds,
    "asks": img2ds,
    "aiohttp": aiohttp,
    "pycurl": pycurl,
    "img2dataset": img2dataset,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CLIENTS)
    parser.add_argument("--urls", type=Path, required=True, help="a file with a URL a line")
    parser.add_argument("--sums", type=Path, required=True, help="the file to write")
    parser.add_argument("--ca_bundle", required=True)
    parser.add_argument("--slots", type=int, default=64, help="requests in flight")
    parser.add_argument("--keep", action="store_true", help="keep connections alive")
    options = parser.parse_args()
    sink = Sink()
    CLIENTS[options.name](options.urls.read_text().splitlines(), options, sink)
    options.sums.write_text(json.dumps({"bodies": sink.bodies, "bytes": sink.bytes}))


if __name__ == "__main__":
    main()
