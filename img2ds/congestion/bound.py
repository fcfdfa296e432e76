"""What bounds a run now, in words that say what would help."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from img2ds.congestion.link_control import LinkControl
from img2ds.congestion.machine import Floats
from img2ds.congestion.outage import Outage
from img2ds.congestion.path_control import PathControl
from img2ds.congestion.signals import Signal


class Bound(IntEnum):
    """What bounds a run."""

    UNKNOWN = 0
    OUTAGE = 1
    NAME_SERVER = 2
    ROUTER_CONNECTIONS = 3
    ROUTER_RATE = 4
    LINK = 5
    HOSTS = 6
    REQUESTS = 7  #: --thread_count, or the CPU: nothing of the network

    @property
    def kind(self) -> str:
        """The stable name of a `Condition`."""
        return _KINDS.get(self, "")

    def words(self, figure: float) -> str:
        """Return the bound for people, with its figure."""
        return _WORDS[self].format(figure)


_KINDS = {
    Bound.NAME_SERVER: "name_server",
    Bound.ROUTER_CONNECTIONS: "router",
    Bound.ROUTER_RATE: "router",
    Bound.LINK: "link",
    Bound.HOSTS: "hosts",
}
_WORDS = {
    Bound.UNKNOWN: "",
    Bound.OUTAGE: "the network is out",
    Bound.NAME_SERVER: "name server {:.0f}/s",
    Bound.ROUTER_CONNECTIONS: "router {:.0f} connections",
    Bound.ROUTER_RATE: "router {:.0f} connections/s",
    Bound.LINK: "link {:.1f} Mbit/s",
    Bound.HOSTS: "hosts, {:.0f} rows wait",
    Bound.REQUESTS: "",
}


class HasRate(Protocol):
    """The part of `DnsControl` that is needed here."""

    rate: float

    @property
    def answered_rate(self) -> float: ...


def find_bound(
    totals: Floats, path: PathControl, link: LinkControl, dns: HasRate, outage: Outage
) -> tuple[Bound, float]:
    """Return what bounds the run now, and the figure that goes with it."""
    if outage is not Outage.NONE:
        return Bound.OUTAGE, 0.0
    if totals[Signal.WAITING_DNS] > 0 and totals[Signal.BODIES] < totals[Signal.WAITING_DNS]:
        return Bound.NAME_SERVER, dns.answered_rate
    if totals[Signal.WAITING_CONNECT] > 0 and path.limited:
        if totals[Signal.OPEN] >= 0.9 * path.window:
            return Bound.ROUTER_CONNECTIONS, path.window
        return Bound.ROUTER_RATE, path.rate
    if totals[Signal.WAITING_REQUEST] > 0 and link.limited:
        return Bound.LINK, 8e-6 * link.throughput
    waiting = float(totals[Signal.WAITING_HOST])
    if waiting > 0 and waiting > totals[Signal.REQUESTS]:
        return Bound.HOSTS, waiting
    return Bound.REQUESTS, 0.0
