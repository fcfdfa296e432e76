"""The web servers of a simulated network: one image for every row, with the limits of a `Web`.

One process answers at the addresses of all hosts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import signal
import socket
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import cast

from benchmark.counting_cdn import CountingCdn
from benchmark.network_list import CDN_ADDRESS, PORTAL, PORTAL_ADDRESS, kind_of
from benchmark.network_settings import Portal, Web
from benchmark.network_worlds import WORLDS
from tests.server.encodings import jpeg
from tests.server.photos import photo

#: Seconds before the first byte, uniform.
DELAY = (0.02, 0.25)
_KEEP_ALIVE = 30.0
#: Images that are given out in turn.
_IMAGES = 4
#: Largest payload of a JPEG segment.
_SEGMENT = 65_533
_HTML = b"<!doctype html><title>Wi-Fi</title><p>Please accept our terms of use to continue."


def image_of(number: int, size: int) -> bytes:
    """Draw a JPEG of exactly `size` bytes, at least 5000."""
    width = 160 if size < 20_000 else 480
    data = jpeg(photo(number, width, width * 3 // 4), 75)
    # Comment segments behind the first marker fill it up.
    missing = size - len(data)
    fill = b""
    while missing > 0:
        part = min(missing, _SEGMENT + 2)
        if 0 < missing - part < 4:
            part -= 4
        fill += b"\xff\xfe" + struct.pack("!H", part - 2) + b" " * (part - 4)
        missing -= part
    if len(data) + len(fill) != size:
        raise ValueError(f"an image of {size} bytes is too small: {len(data)} are needed")
    return data[:2] + fill + data[2:]


class Site:
    """What all connections share: images, the CDN's and the portal's state, counts."""

    def __init__(self, web: Web, rows: int) -> None:
        self.web = web
        self.images = [image_of(number, web.body) for number in range(_IMAGES)]
        self.cdn = CountingCdn(web.cdn) if web.cdn else None
        #: Requests after which the portal takes over, and until when it does.
        self._portal_after = rows // 5
        self._portal_until: float | None = None
        self.counts: Counter[str] = Counter()

    def portal(self, now: float) -> Portal | None:
        """Return the portal if it answers now."""
        portal = self.web.portal
        if portal is None or self.counts["requests"] < self._portal_after:
            return None
        if self._portal_until is None:
            self._portal_until = now + portal.seconds
        return portal if now < self._portal_until else None


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection."""

    transport: asyncio.Transport

    def __init__(self, site: Site, loop: asyncio.AbstractEventLoop) -> None:
        self._site, self._loop = site, loop
        self._buffer = b""
        self._cdn: CountingCdn | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._address = transport.get_extra_info("sockname")[0]
        self._site.counts["connections"] += 1
        if self._address == CDN_ADDRESS and self._site.cdn is not None:
            if self._site.cdn.connect(self._loop.time()):
                self._cdn = self._site.cdn
            else:
                self._reset()
                return
        self._wait(_KEEP_ALIVE, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._cdn is not None:
            self._cdn.disconnect()
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        target = self._buffer.split(b" ", 2)[1]
        self._buffer = self._buffer[end + 4 :]
        site, now = self._site, self._loop.time()
        portal = site.portal(now)
        site.counts["requests"] += 1
        if portal is not None and self._address != PORTAL_ADDRESS:
            site.counts["portal"] += 1
            self._portal(portal)
        elif self._address == PORTAL_ADDRESS:
            self._reply(200, _HTML, "text/html")
        elif self._cdn is not None:
            self._count(self._cdn, target, now)
        elif kind_of(int(self._address.split(".")[2])) == "missing":
            self._reply(404, b"", "text/html")
        else:
            self._image(target)

    def _portal(self, portal: Portal) -> None:
        if portal.reply == "html":
            self._reply(200, _HTML, "text/html")
        else:
            self._reply(302, b"", "text/html", f"Location: http://{PORTAL}/login\r\n")

    def _count(self, cdn: CountingCdn, target: bytes, now: float) -> None:
        status = cdn.request(now)
        self._site.counts[f"cdn {status}"] += 1
        if status == 200:
            self._image(target)
        elif status == 0:
            self._reset()
        else:
            wait = cdn.retry_after
            extra = "" if wait is None else f"Retry-After: {wait}\r\n"
            self._reply(status, b"", "text/plain", extra)

    def _image(self, target: bytes) -> None:
        number = zlib.crc32(target)
        body = self._site.images[number % _IMAGES]
        delay = Random(number).uniform(*DELAY)
        self._wait(delay, lambda: self._reply(200, body, "image/jpeg"))

    def _reply(self, status: int, body: bytes, kind: str, extra: str = "") -> None:
        keep = self._site.web.keep_alive
        extra += "" if keep else "Connection: close\r\n"
        head = (
            f"HTTP/1.1 {status} Status\r\nContent-Type: {kind}\r\n"
            f"{extra}Content-Length: {len(body)}\r\n\r\n"
        )
        self._site.counts[str(status)] += 1
        self.transport.write(head.encode() + body)
        if keep:
            self._wait(_KEEP_ALIVE, self.transport.close)
        else:
            self.transport.close()

    def _wait(self, seconds: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, call)

    def _reset(self) -> None:
        # With a linger time of 0, closing sends RST.
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._site.counts["resets"] += 1
        self.transport.abort()


async def serve(web: Web, rows: int) -> Counter[str]:
    """Answer until SIGTERM; return the counts."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    site = Site(web, rows)
    server = await loop.create_server(lambda: Connection(site, loop), "0.0.0.0", 80, backlog=4096)
    print("ready", flush=True)
    async with server:
        await ended.wait()
    return site.counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("rows", type=int)
    parser.add_argument("report", type=Path, help="file for the counts")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    counts = asyncio.run(serve(WORLDS[options.world].web, options.rows))
    options.report.write_text(json.dumps(counts))


if __name__ == "__main__":
    main()
