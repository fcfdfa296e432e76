"""The worlds that `benchmark.networks` measures: one line of data for each.

In all of them, every row outside dead, gone, refused and missing hosts can be had at a pace that
the network bears. The default round trip is 30 ms; links have a queue of 128 kB.
"""

from __future__ import annotations

from dataclasses import replace

from benchmark.network_settings import (
    Cdn,
    Hosts,
    Link,
    NameServer,
    Nat,
    Outage,
    Path,
    Portal,
    Web,
    World,
)

#: Images of thin links: a third of the rows, of 200 kB each.
_LARGE = Web(body=200_000)
_CLOSING = Web(keep_alive=False)


def _thin(name: str, down: Link, up: Link | None = None) -> World:
    return World(name, Path(down=down, up=up), web=_LARGE, rows=1 / 3)


def _cdn(name: str, cdn: Cdn) -> World:
    return World(name, web=Web(cdn=cdn))


def _outage(name: str, outage: Outage) -> World:
    return World(name, Path(outage=outage))


OPEN = World("open")

_ROUTERS = [
    World("nat-100", Path(nat=Nat(100))),
    World("nat-300", Path(nat=Nat(300))),
    World("nat-800-linger", Path(nat=Nat(800, linger=60)), web=_CLOSING),
    World("nat-300-udp", Path(nat=Nat(300, counts_udp=True))),
    World("syn-50", Path(syn_rate=50), web=_CLOSING),
    World("nat-300-dead-hosts", Path(nat=Nat(300)), hosts=Hosts(dead=0.15)),
]
_LINKS = [
    _thin("link-5", Link(5)),
    _thin("link-10", Link(10)),
    _thin("link-20", Link(20)),
    _thin("bufferbloat", Link(10, queue=2_000_000)),
    _thin("asymmetric", Link(20), Link(0.5, queue=64_000)),
    _thin("lte", Link(20, then=(5, 1, 10))),
    World("satellite", Path(rtt=0.6)),
    World("loss-5", Path(loss=0.05)),
    World("loss-10", Path(loss=0.10)),
    World("syn-loss-20", Path(syn_loss=0.20)),
]
_RESOLVERS = [
    World("dns-50-servfail", names=NameServer(rate=50)),
    World("dns-100-servfail", names=NameServer(rate=100)),
    World("dns-50-silence", names=NameServer(rate=50, beyond="silence")),
    World("dns-100-silence", names=NameServer(rate=100, beyond="silence")),
    World("dns-50-refused", names=NameServer(rate=50, beyond="refused")),
    World("dns-cold-40", names=NameServer(cold=(0.3, 3.0))),
    World("dns-cold-slow", names=NameServer(cold=(1.0, 12.0), at_once=200, beyond="silence")),
    World("dns-out-servfail", names=NameServer(out=10)),
    World("dns-out-silence", names=NameServer(out=10, beyond="silence")),
    World("dns-one-dead", names=NameServer(dead_first=True)),
    World("dns-loss-5", names=NameServer(loss=0.05)),
    World("broken-ipv6", names=NameServer(ipv6=True)),
]
_CDNS = [
    _cdn("cdn-429-retry-after", Cdn(rate=20, retry_after=True)),
    _cdn("cdn-429", Cdn(rate=20)),
    _cdn("cdn-503", Cdn(rate=20, status=503)),
    _cdn("cdn-resets", Cdn(parallel=10)),
    _cdn("cdn-bans", Cdn(rate=20, ban="reset")),
    _cdn("cdn-bans-403", Cdn(rate=20, ban="403")),
]
_OUTAGES = [
    _outage("link-down", Outage("down")),
    _outage("unreachable", Outage("unreachable")),
    _outage("blackout", Outage("swallowed")),
    _outage("late-network", Outage("down", at_start=True)),
    replace(_outage("no-network", Outage("down", float("inf"), at_start=True)), patience=60.0),
    World("waking-hosts", hosts=Hosts(waking=0.10)),
    World("portal-html", web=Web(portal=Portal("html"))),
    World("portal-redirect", web=Web(portal=Portal("redirect"))),
    World("nothing-there", hosts=Hosts(gone=0.4, refused=0.3, missing=0.3)),
]
_TOGETHER = [
    World("nat-300-dns-100", Path(nat=Nat(300)), names=NameServer(rate=100)),
    World("link-20-cdn-429", Path(down=Link(20)), web=Web(body=50_000, cdn=Cdn(rate=20))),
    World("blackout-dead-hosts", Path(outage=Outage("swallowed")), hosts=Hosts(dead=0.15)),
    World("nat-300-16", Path(nat=Nat(300)), processes=16),
    World("dns-50-16", names=NameServer(rate=50), processes=16),
    World("cdn-429-16", web=Web(cdn=Cdn(rate=20)), processes=16),
]

WORLDS = {
    world.name: world
    for world in (OPEN, *_ROUTERS, *_LINKS, *_RESOLVERS, *_CDNS, *_OUTAGES, *_TOGETHER)
}
