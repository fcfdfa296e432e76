"""A connector with a hosts file, and servers on loopback for it to reach."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from img2ds.config.options import NetworkOptions
from img2ds.net.connector import Connector
from img2ds.net.deadline import Deadline
from img2ds.net.dns_config import DnsConfig
from img2ds.net.error import FetchError
from img2ds.net.resolver import Resolver
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
    return Connector(NetworkOptions(**options), resolver)


async def attempt(opened: Connector, host: str, port: int) -> str:
    """Connect. Returns the address reached, or the reason of the failure."""
    try:
        sock = await opened.connect_to_host(host, port, Deadline(10.0, 60.0))
    except FetchError as error:
        return error.failure.reason
    with sock:
        return str(sock.getpeername()[0])


@asynccontextmanager
async def listening(host: str, port: int = 0) -> AsyncIterator[Server]:
    server = Server(BEHAVIOURS, host=host, port=port)
    async with serving(server):
        yield server
