"""A connector with a hosts file, and servers on loopback for it to reach."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from img2ds.config.options import NetworkOptions
from img2ds.congestion.machine import Machine
from img2ds.congestion.path import NetworkPath
from img2ds.net.budget import Budget
from img2ds.net.connector import Connector
from img2ds.net.context import FetchContext
from img2ds.net.deadline import Deadline
from img2ds.net.dns_config import DnsConfig
from img2ds.net.error import FetchError
from img2ds.net.request import Request
from img2ds.net.resolver import Resolver
from img2ds.net.stream import ByteStream
from img2ds.net.url import parse_url
from tests.run_on_virtual_clock import serving
from tests.server import certificates
from tests.server.registry import BEHAVIOURS
from tests.server.web import Server

#: Addresses that the guard treats as public in these tests.
PUBLIC = ("127.0.0.1", "127.0.0.3", "::1")
#: Nothing listens at port 9 of loopback here: connections are refused.
DISCARD = 9


def connector(*, hosts: Mapping[str, tuple[str, ...]] | None = None, **options: Any) -> Connector:
    """Return a connector that knows only the names of a hosts file."""
    resolver = Resolver(DnsConfig((("127.0.0.1", DISCARD),), dict(hosts or {})), 10.0, ipv6=False)
    options.setdefault("ca_bundle", certificates.bundle())
    return Connector(NetworkOptions(**options), resolver, NetworkPath(Machine()))


async def connect(opened: Connector, host: str, port: int, deadline: Deadline) -> ByteStream:
    """Connect to a host of an http URL."""
    literal = f"[{host}]" if ":" in host else host
    request = Request(parse_url(f"http://{literal}:{port}/"), None)
    return await opened.connect(request, FetchContext(Budget(1 << 20).lease(), deadline))


async def attempt(opened: Connector, host: str, port: int) -> str:
    """Connect. Returns the address reached, or the reason of the failure."""
    try:
        stream = await connect(opened, host, port, Deadline(10.0, 60.0))
    except FetchError as error:
        return error.failure.reason
    try:
        return str(stream.sock.getpeername()[0])
    finally:
        stream.close()


@asynccontextmanager
async def listening(host: str, port: int = 0) -> AsyncIterator[Server]:
    server = Server(BEHAVIOURS, host=host, port=port)
    async with serving(server):
        yield server


@contextmanager
def full(host: str) -> Iterator[socket.socket]:
    """Yield a listener that answers no connection attempt: its queue is full (listen(2))."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener, socket.socket(family) as first:
        listener.bind((host, 0))
        listener.listen(0)
        first.connect(listener.getsockname())
        yield listener
