"""The settings of a simulated network: what its router, name servers and web servers do.

Values only. `network_worlds` combines them to worlds; `router`, `limited_dns` and `limited_web`
act on them; `network_bounds` computes the shortest time that they allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Nat:
    """A connection table. A TCP entry lasts from its SYN to a RST or the FINs of both sides.

    Args:
        entries: a SYN is dropped while the table holds this many.
        linger: seconds that an entry stays after its connection has ended.
        counts_udp: whether UDP flows take entries too, for 30 s after their last packet.
    """

    entries: int
    linger: float = 0.0
    counts_udp: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A link with one queue and tail drop, in one direction.

    Args:
        mbit: its rate in Mbit/s, IP headers included.
        queue: bytes that can wait.
        then: further rates; the link changes to the next one every `period` seconds, in a circle.
    """

    mbit: float
    queue: int = 128_000
    then: tuple[float, ...] = ()
    period: float = 3.0

    @property
    def mean_mbit(self) -> float:
        """Mean rate over all its rates."""
        rates = (self.mbit, *self.then)
        return sum(rates) / len(rates)


@dataclass(frozen=True, slots=True)
class Outage:
    """A time without a network.

    Args:
        kind: the tool's device goes down (ENETUNREACH); the router answers every packet with
            "host unreachable" (EHOSTUNREACH); or all packets are swallowed.
        seconds: how long.
        at_start: whether it begins before the first packet, not after a fifth of the rows.
    """

    kind: Literal["down", "unreachable", "swallowed"]
    seconds: float = 20.0
    at_start: bool = False


@dataclass(frozen=True, slots=True)
class Path:
    """Everything between the tool and the servers.

    Args:
        rtt: round trip in seconds, without queues.
        loss: share of all packets that is lost, in either direction.
        syn_loss: share of the SYNs that is lost.
        syn_rate: SYNs a second; further ones are dropped.
        down: link towards the tool; None for one without a limit.
        up: link from the tool.
        wake_after: seconds from a waking host's first SYN until it receives any.
    """

    rtt: float = 0.03
    loss: float = 0.0
    syn_loss: float = 0.0
    syn_rate: float | None = None
    nat: Nat | None = None
    down: Link | None = None
    up: Link | None = None
    outage: Outage | None = None
    wake_after: float = 12.0


#: What a name server does with a question that is too much for it.
Refusal = Literal["servfail", "refused", "silence"]


@dataclass(frozen=True, slots=True)
class NameServer:
    """The live name server.

    Args:
        rate: questions a second; further ones meet `beyond`.
        cold: seconds that the first question for a name takes, log-uniform between two values.
        at_once: cold names that it looks up at the same time; further ones meet `beyond`.
        out: seconds after the first question in which every question meets `beyond`.
        loss: share of the questions that is not answered.
        dead_first: whether resolv.conf names a server that never answers before this one.
        ipv6: whether names have IPv6 addresses too, which lead nowhere.
    """

    rate: float | None = None
    beyond: Refusal = "servfail"
    cold: tuple[float, float] | None = None
    at_once: int = 40
    out: float = 0.0
    loss: float = 0.0
    dead_first: bool = False
    ipv6: bool = False


@dataclass(frozen=True, slots=True)
class Cdn:
    """A host with 30 % of the rows that counts its requests.

    Args:
        rate: requests a second; further ones get `status`.
        retry_after: whether such a response tells how long to wait.
        parallel: connections at once; further ones are reset.
        ban: what a client gets for 60 s after 5 s of requests beyond the rate.
    """

    rate: float | None = None
    status: int = 429
    retry_after: bool = False
    parallel: int | None = None
    ban: Literal["reset", "403"] | None = None


@dataclass(frozen=True, slots=True)
class Portal:
    """A captive portal: for a while, it answers every request in the servers' place."""

    reply: Literal["html", "redirect"]
    seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Web:
    """The web servers. They answer after 20 to 250 ms.

    Args:
        body: bytes of every image.
        keep_alive: whether connections stay open after a response, for 30 s.
    """

    body: int = 6_000
    keep_alive: bool = True
    cdn: Cdn | None = None
    portal: Portal | None = None


@dataclass(frozen=True, slots=True)
class Hosts:
    """Shares of the host names that differ from ordinary ones.

    Args:
        dead: never receive a SYN.
        gone: have no DNS entry (NXDOMAIN).
        refused: refuse connections.
        missing: answer 404.
        waking: share of the *rows*, on three hosts that wake up (`Path.wake_after`).
    """

    dead: float = 0.0
    gone: float = 0.0
    refused: float = 0.0
    missing: float = 0.0
    waking: float = 0.0


@dataclass(frozen=True, slots=True)
class World:
    """A network with its servers and its list.

    Args:
        rows: its share of the rows asked for; less where bodies are large.
        processes: worker processes; None for the number asked for.
        patience: seconds after which a run is interrupted; None for a multiple of its bound.
    """

    name: str
    path: Path = Path()
    names: NameServer = NameServer()
    web: Web = Web()
    hosts: Hosts = Hosts()
    rows: float = 1.0
    processes: int | None = None
    patience: float | None = None
