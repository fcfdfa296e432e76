"""The names that resolver tests ask for, and a resolver in front of real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from img2ds.net.dns_config import DnsConfig
from img2ds.net.error import FetchError
from img2ds.net.resolver import Resolver
from tests.run_on_virtual_clock import serving
from tests.server.names import (
    AAAA,
    CNAME,
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    A,
    Entry,
    NameServer,
    Record,
    addresses,
)

TIMEOUT = 10.0

ZONE = {
    "a.example": addresses("127.0.0.5"),
    "both.example": addresses("127.0.0.5", "127.0.0.6", "127.0.0.7", "::5", "::6"),
    "six.example": addresses("::5"),
    "alias.example": Entry((Record(CNAME, "cdn.example", 100),)),
    "cdn.example": Entry((Record(CNAME, "edge.example", 90), Record(A, "127.0.0.8", 200))),
    "edge.example": addresses("127.0.0.9", ttl=3000),
    "dangling.example": Entry((Record(CNAME, "nowhere.example"),)),
    "empty.example": Entry(),
    "gone.example": Entry(code=NXDOMAIN, minimum=90),
    "long-gone.example": Entry(minimum=1_000_000),
    "servfail.example": Entry(code=SERVFAIL),
    "refused.example": Entry(code=REFUSED),
    "silent.example": Entry(silent=True),
    "old.example": Entry((Record(A, "127.0.0.5"),), silent_to=AAAA),
    "slow.example": Entry((Record(A, "127.0.0.5"),), delay=3.0),
    "large.example": addresses(*(f"127.1.0.{n}" for n in range(200)), truncated=True),
    "no-tcp.example": addresses("127.0.0.5", truncated=True, tcp_closes=True),
    "raced.example": addresses("127.0.0.5", wrong_id=True),
    "forged.example": addresses("127.0.0.5", wrong_id_only=True),
    "brief.example": addresses("127.0.0.5", ttl=1),
    "lasting.example": addresses("127.0.0.5", ttl=1_000_000),
    "x" * 63 + ".example": addresses("127.0.0.5"),
}


@asynccontextmanager
async def resolving(
    *servers: NameServer, hosts: Mapping[str, tuple[str, ...]] | None = None, **options: Any
) -> AsyncIterator[Resolver]:
    """A resolver that asks the servers in turn, IPv4 only by default.

    `servers_at` are addresses of further ones, and `config` has further fields of the DnsConfig.
    """
    options.setdefault("ipv6", False)
    async with serving(*servers):
        asked = (*(server.address for server in servers), *options.pop("servers_at", ()))
        config = DnsConfig(asked, dict(hosts or {}), **options.pop("config", {}))
        yield Resolver(config, options.pop("timeout", TIMEOUT), **options)


async def outcome(resolver: Resolver, name: str) -> tuple[str, ...] | str:
    """Return the addresses, or the reason of the failure."""
    try:
        return tuple(await resolver.resolve(name))
    except FetchError as error:
        return error.failure.reason
