"""The shortest time from the first request to the end of a run that a world allows.

Computed from the world's settings for a client that knows them, but neither which packets are lost
nor which names are slow, and that leaves retransmission to TCP.
What the machine itself needs is measured: a run in the world `open`, which has no limit. A bound is
the larger of that run's time and the strictest limit, plus the time in which nothing can be had.

| limit | seconds |
|---|---|
| slots | requests x (two round trips and the mean answer time), and a round trip for each name, |
|  | / slots of all processes |
| NAT | connections x the time each holds its entry / entries; with a linger, whole tables in turn |
| SYN rate | connections / rate |
| link | bytes on the wire / mean rate, in either direction |
| retransmissions | the last row's end: rows start in turn in the time of `open`; a SYN waits |
|  | for 1, 3, 7 s to be sent again, a request or the end of its response for 0.2, 0.6, 1.4 s |
| resolver | names / rate; cold names in the list's order, so many at once |
| CDN | its rows / rate; its rows x (a round trip and the mean answer time) / connections at once |
| dead, waking hosts | the time a host takes to wake up; for dead ones a SYN's retransmission more |
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from random import Random

from benchmark.limited_web import DELAY
from benchmark.nat_table import UNANSWERED
from benchmark.network_list import Rows
from benchmark.network_settings import Link, World
from img2ds.config.options import NetworkOptions

#: Payload of a full TCP segment and its headers, with time stamps; a SYN; an HTTP head of ours.
_SEGMENT, _HEADERS, _SYN, _HEAD = 1448, 52, 60, 110
#: Bytes of a request.
_REQUEST = 200
_ANSWER = sum(DELAY) / 2
#: Seconds after which a SYN is sent again (RFC 6298 2.1).
_SYN_AGAIN = 1.0
#: Seconds after which Linux sends data again, at least; it doubles as that of a SYN (RFC 6298 5.5).
_DATA_AGAIN = 0.2
#: Draws of what is lost. The lower quartile counts: chance decides by seconds.
_DRAWS = 40


@dataclass(frozen=True, slots=True)
class Bound:
    """The strictest limit, its name, and the seconds in which nothing can be had.

    Attributes:
        repeats: seconds that each row waits for retransmissions, in several draws.
    """

    limit: str
    seconds: float
    waiting: float
    repeats: tuple[tuple[float, ...], ...] = ()

    def total(self, open_seconds: float) -> float:
        """Return the bound, given the time that a run takes without limits."""
        return max(self.seconds, open_seconds, self._last_row(open_seconds)) + self.waiting

    def strictest(self, open_seconds: float) -> str:
        """Return what sets the bound, in words."""
        limit = self.limit if self.seconds > open_seconds else "machine"
        if self._last_row(open_seconds) > max(self.seconds, open_seconds):
            limit = "retransmissions"
        return f"{limit} + {self.waiting:.0f} s" if self.waiting else limit

    def _last_row(self, open_seconds: float) -> float:
        """Return when the last row ends that waits for retransmissions, in a lucky draw."""
        if not self.repeats:
            return 0.0
        step = open_seconds / len(self.repeats[0])
        ends = [max(i * step + wait for i, wait in enumerate(waits)) for waits in self.repeats]
        return sorted(ends)[len(ends) // 4]


def bound_of(world: World, rows: Rows, processes: int) -> Bound:
    """Compute the bound of a world for a list."""
    limits = {
        "slots": _slots(world, rows, processes), "NAT": _nat(world, rows),
        "SYN rate": _syn_rate(world, rows), "link": _links(world, rows),
        "resolver": _resolver(world, rows),
        "CDN": _cdn(world, rows), "hosts": _hosts(world),
    }  # fmt: skip
    name = max(limits, key=lambda limit: limits[limit])
    return Bound(name, limits[name], _waiting(world), _repeats(world, rows))


def _slots(world: World, rows: Rows, processes: int) -> float:
    slots = NetworkOptions().thread_count * processes
    rtt = world.path.rtt
    return (len(rows.urls) * (2 * rtt + _ANSWER) + rows.names * rtt) / slots


def _connections(world: World, rows: Rows) -> int:
    """Fewest connections: one for each name, or for each row when servers close them."""
    return rows.names if world.web.keep_alive else len(rows.urls)


def _nat(world: World, rows: Rows) -> float:
    nat = world.path.nat
    if nat is None:
        return 0.0
    if nat.linger:
        return (_connections(world, rows) - 1) // nat.entries * nat.linger
    # A connection, a response and the two FINs are three round trips. A connection that is kept
    # saves the first and the last, but holds its entry until the next row of its host comes in the
    # list, which takes many times longer.
    held = len(rows.urls) * (3 * world.path.rtt + _ANSWER)
    dead = rows.names * world.hosts.dead * UNANSWERED
    return (held + dead) / nat.entries


def _syn_rate(world: World, rows: Rows) -> float:
    rate = world.path.syn_rate
    return 0.0 if rate is None else _connections(world, rows) / rate


def _repeats(world: World, rows: Rows) -> tuple[tuple[float, ...], ...]:
    """Draw what each row waits for retransmissions."""
    path, random = world.path, Random(14)
    data = 1.0 - (1.0 - path.loss) ** 2  # a request, or the end of its response
    syn = 1.0 - (1.0 - data) * (1.0 - path.syn_loss)  # or its answer
    if not syn:
        return ()

    def wait(lost: float, first: float) -> float:
        seconds = 0.0
        while random.random() < lost:
            seconds, first = seconds + first, 2 * first
        return seconds

    hosts = [url.split("/", 3)[2] for url in rows.urls]
    draws = []
    for _ in range(_DRAWS):
        known: set[str] = set()
        waits = []
        for host in hosts:
            connects = host not in known or not world.web.keep_alive
            known.add(host)
            waits.append((wait(syn, _SYN_AGAIN) if connects else 0.0) + wait(data, _DATA_AGAIN))
        draws.append(tuple(waits))
    return tuple(draws)


def _links(world: World, rows: Rows) -> float:
    size = world.web.body + _HEAD
    segments = math.ceil(size / _SEGMENT)
    images = len(rows.available)
    down = images * (size + segments * _HEADERS) + rows.names * (_SYN + 2 * _HEADERS)
    # TCP acknowledges at least every second segment (RFC 9293, 3.8.6.3).
    up = images * (_REQUEST + segments / 2 * _HEADERS) + rows.names * (_SYN + 2 * _HEADERS)
    return max(_link(world.path.down, down), _link(world.path.up, up))


def _link(link: Link | None, size: float) -> float:
    return 0.0 if link is None else size * 8 / (link.mean_mbit * 1e6)


def _resolver(world: World, rows: Rows) -> float:
    names = world.names
    by_rate = rows.names / names.rate if names.rate else 0.0
    if names.cold is None:
        return by_rate
    low, high = names.cold
    random = Random(14)
    free = [0.0] * names.at_once  # when each of the names that are worked on at once is found
    for _ in range(rows.names):
        heapq.heapreplace(free, free[0] + low * (high / low) ** random.random())
    return max(by_rate, *free)


def _cdn(world: World, rows: Rows) -> float:
    cdn = world.web.cdn
    if cdn is None:
        return 0.0
    by_rate = rows.cdn / cdn.rate if cdn.rate else 0.0
    if cdn.parallel is None:
        return by_rate
    return max(by_rate, rows.cdn * (world.path.rtt + _ANSWER) / cdn.parallel)


def _hosts(world: World) -> float:
    wake_after = world.path.wake_after
    if world.hosts.dead:
        # One SYN may be lost on any line: only two tell a dead host from one that woke up.
        return max(NetworkOptions().timeout, wake_after + _SYN_AGAIN + world.path.rtt)
    return wake_after if world.hosts.waking else 0.0


def _waiting(world: World) -> float:
    outage, portal = world.path.outage, world.web.portal
    seconds = world.names.out
    seconds += outage.seconds if outage and math.isfinite(outage.seconds) else 0.0
    return seconds + (portal.seconds if portal else 0.0)
