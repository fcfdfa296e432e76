"""The world of the suite over all fetchers: a web server for each scheme, and a fetcher.

Host names lead to loopback by `connect_to`; every other address meets the guard, to which
127.0.0.1 counts as public here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import pytest
import trio

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Failure
from img2ds.core.sample import Fetched
from img2ds.net.budget import Budget, Lease
from img2ds.net.context import FetchContext
from img2ds.net.fetcher import Fetcher, open_fetcher
from tests.run_on_virtual_clock import serving
from tests.server import certificates
from tests.server.proxy import ProxyServer
from tests.server.registry import BEHAVIOURS
from tests.server.web import Behaviour, Greeting, Peer, Request, Server, reply

#: The host that URLs of the suite name; certificates.NAMES has it.
HOST = "pics.example"

#: A proxy that is not there.
DEAD_PROXY = "http://127.0.0.1:9"

#: Every fetcher, and whether it keeps connections.
KEEPS_CONNECTIONS = {"trio": True, "asks": False}

FETCHERS = [
    pytest.param("trio"),
    pytest.param(
        "asks",
        marks=pytest.mark.skipif(
            find_spec("asks") is None, reason="the package asks is not installed"
        ),
    ),
]


@dataclass
class Notes(Behaviour):
    """Answers with `answer_with` and remembers the requests; `keep`s the connection open."""

    answer_with: bytes = reply(b"an image, for all a fetcher knows")
    keep: bool = True
    requests: list[Request] = field(default_factory=list)

    async def answer(self, request: Request, peer: Peer) -> bool:
        self.requests.append(request)
        await peer.send(self.answer_with)
        return self.keep


class Everywhere(Mapping[str, Behaviour]):
    """A table with one behaviour at every path."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour

    def __getitem__(self, path: str) -> Behaviour:
        return self.behaviour

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def tls_proxy(**settings: Any) -> ProxyServer:
    """A proxy that speaks TLS to its clients."""
    return ProxyServer(tls=certificates.server_context(certificates.good), **settings)


@dataclass
class World:
    """Two servers and a fetcher that reaches them as ports 80 and 443 of any given host.

    `proxy` leads to the same servers; whether the fetcher uses it is up to its options.
    """

    http: Server
    https: Server
    fetcher: Fetcher
    options: NetworkOptions
    budget: Budget
    proxy: ProxyServer

    def context(self, lease: Lease) -> FetchContext:
        """Return the context of an attempt that starts now."""
        return FetchContext.start(self.options, lease)

    async def get(self, url: str) -> Fetched | Failure:
        """Make one attempt. The lease is given back, and must have counted what was held."""
        with self.budget.lease() as lease:
            fetched = await self.fetcher.fetch(url, self.context(lease))
            if isinstance(fetched, Fetched):
                assert lease.held > 0
        return fetched

    async def reason(self, url: str) -> str | None:
        """Return the reason of the failure, None for a success."""
        outcome = await self.get(url)
        return outcome.reason if isinstance(outcome, Failure) else None

    async def seconds(self, url: str) -> float:
        """Return how long an attempt takes on trio's clock."""
        began = trio.current_time()
        await self.get(url)
        return trio.current_time() - began

    async def body(self, url: str) -> bytes:
        """Return the body of a success."""
        outcome = await self.get(url)
        assert isinstance(outcome, Fetched), outcome
        return bytes(outcome.body)


@asynccontextmanager
async def world(
    kind: str,
    behaviours: Mapping[str, Behaviour] = BEHAVIOURS,
    *,
    greeting: Greeting | None = None,
    identity: Any = certificates.good,
    hosts: Iterable[str] = (HOST,),
    public: Collection[str] = ("127.0.0.1",),
    proxy: ProxyServer | None = None,
    login: str = "",
    **options: Any,
) -> AsyncIterator[World]:
    """A `World` with the fetcher called `kind`.

    Args:
        identity: what makes the https server's certificate.
        hosts: the names that lead to the two servers.
        public: the addresses that the guard lets pass.
        proxy: the way to the servers in place of `connect_to`; it is given its `servers` here.
        login: `USER:PASSWORD@` of its URL.
        options: NetworkOptions' own; `connect_to` comes before what `hosts` makes of it.
    """
    http = Server(behaviours, greeting=greeting)
    https = Server(behaviours, tls=certificates.server_context(identity), greeting=greeting)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("connector", "routes"):
            patch.setattr(f"img2ds.net.{module}.is_public", lambda address: address in public)
        used = proxy is not None
        proxy = proxy or ProxyServer()
        proxy.servers = {80: http, 443: https}
        async with serving(http, https, proxy):
            if used:
                hosts = ()
                options["proxy"] = f"{proxy.scheme}://{login}{proxy.address}"
            ways = options.pop("connect_to", ())
            for host in hosts:
                ways += (f"{host}:80:127.0.0.1:{http.port}", f"{host}:443:127.0.0.1:{https.port}")
            options.setdefault("ca_bundle", certificates.bundle())
            network = NetworkOptions(fetcher=kind, connect_to=ways, **options)
            fetcher = open_fetcher(network)
            try:
                yield World(http, https, fetcher, network, Budget(1 << 30), proxy)
            finally:
                await fetcher.aclose()
