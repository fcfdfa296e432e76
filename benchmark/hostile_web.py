"""The hostile web: a server that is slow, late, wrong or unresponsive, and its DNS.

What a URL meets is in its host and path, so that every tool meets the same. Everything is on
loopback; run in a world of its own (see `world`).
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import cast

from benchmark.corpus import Corpus, open_corpus
from benchmark.world import NAME_SERVER, SERVER

#: Shares of rows in percent. A host keeps its kind, a path its answer.
SYN_DROPPED, NEVER_NAMED, BAD_TLS = 5.0, 5.0, 3.0
MISSING, SLOW = 15.0, 5.0
#: Share of https among the hosts that answer, as in a real list.
HTTPS = 62.0
#: Seconds before the first byte, log-uniform; seconds that a slow body takes, uniform.
DELAY = (0.05, 2.0)
SLOW_BODY = (3.0, 15.0)
#: Hosts of a list.
HOSTS = 600
#: Nothing is ever accepted here.
BLACK_HOLE = "127.0.0.66"
PORTS = (80, 443)


def make_urls(count: int, hosts: int) -> list[str]:
    """`count` URLs over `hosts` host names; seeded."""
    random = Random(9)
    names = [_host(number, random) for number in range(hosts)]
    urls = []
    for number in range(count):
        scheme, host = random.choice(names)
        share = random.uniform(0, 100)
        kind = "missing" if share < MISSING else "slow" if share < MISSING + SLOW else "picture"
        urls.append(f"{scheme}://{host}/{kind}/{number}.jpg")
    return urls


def _host(number: int, random: Random) -> tuple[str, str]:
    # Every kind is spread evenly over the numbers, so that shares hold for few hosts too.
    share = number * 37 % 100
    scheme = "https" if random.uniform(0, 100) < HTTPS else "http"
    if share < SYN_DROPPED:
        return scheme, f"h{number}.lost.example"
    if share < SYN_DROPPED + NEVER_NAMED:
        return scheme, f"h{number}.silent.example"
    if share < SYN_DROPPED + NEVER_NAMED + BAD_TLS:
        return "https", f"h{number}.bad.example"
    return scheme, f"h{number}.good.example"


def is_image(url: str) -> bool:
    """Whether a patient client gets an image for this URL."""
    _, _, host, kind, _ = url.split("/")
    return host.endswith(".good.example") and kind != "missing"


def timing(target: str) -> tuple[float, float]:
    """Seconds before the first byte and of a slow body, the same for every try."""
    random = Random(target)
    low, high = DELAY
    return low * (high / low) ** random.random(), random.uniform(*SLOW_BODY)


class Names(asyncio.DatagramProtocol):
    """A DNS server: `silent` names are never answered, the others have one address."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        with suppress(struct.error, IndexError):
            end = data.index(b"\0", 12) + 5
            name = data[12 : end - 5].lower()
            if b"\x06silent" in name:
                return
            (kind,) = struct.unpack_from("!H", data, end - 4)
            where = BLACK_HOLE if b"\x04lost" in name else SERVER
            found = kind == 1
            head = data[:2] + struct.pack("!HHHHH", 0x8180, 1, int(found), 0, 0)
            record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 300, 4) + socket.inet_aton(where)
            self.transport.sendto(head + data[12:end] + record * found, address)


class Pages:
    """The HTTP side. One reply a connection, so that open connections are slots at work."""

    def __init__(self, corpus: Corpus) -> None:
        self._bodies = [
            (corpus.folder / "picture" / image.name).read_bytes() for image in corpus.images
        ]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            line = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
            await self._reply(line[1].decode(), writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, IndexError):
            pass
        finally:
            writer.close()

    async def _reply(self, target: str, writer: asyncio.StreamWriter) -> None:
        delay, seconds = timing(target)
        _, kind, name = target.split("/", 2)
        await asyncio.sleep(delay)
        if kind == "missing":
            head = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            writer.write(head)
        else:
            body = self._bodies[int(name.removesuffix(".jpg")) % len(self._bodies)]
            head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nConnection: close\r\n"
            writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body))
            if kind == "slow":
                pieces = max(1, round(seconds))  # one a second
                size = -(-len(body) // pieces)
                for start in range(0, len(body), size):
                    await asyncio.sleep(seconds / pieces)
                    writer.write(body[start : start + size])
            else:
                writer.write(body)
        await writer.drain()


@contextmanager
def black_hole() -> Iterator[None]:
    """Ports whose queue is full and never emptied: Linux drops every further SYN."""
    with ExitStack() as stack:
        for port in PORTS:
            listener = stack.enter_context(socket.socket())
            listener.bind((BLACK_HOLE, port))
            listener.listen(0)
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex((BLACK_HOLE, port))
        time.sleep(0.2)
        with socket.socket() as probe:
            probe.settimeout(0.5)
            try:
                probe.connect((BLACK_HOLE, PORTS[0]))
            except TimeoutError:
                pass
            else:
                raise RuntimeError(f"{BLACK_HOLE} accepts connections")
        yield


async def serve(certificate: Path, key: Path) -> None:
    """Until cancelled."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    pages = Pages(open_corpus())
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Names, (NAME_SERVER, 53))
    plain = await asyncio.start_server(pages.answer, SERVER, PORTS[0], backlog=4096)
    secure = await asyncio.start_server(pages.answer, SERVER, PORTS[1], backlog=4096, ssl=context)
    async with plain, secure:
        await asyncio.gather(plain.serve_forever(), secure.serve_forever())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("certificate", type=Path)
    parser.add_argument("key", type=Path)
    options = parser.parse_args()
    with black_hole():
        asyncio.run(serve(options.certificate, options.key))


if __name__ == "__main__":
    main()
