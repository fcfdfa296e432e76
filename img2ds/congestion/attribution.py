"""Whose fault is a failure: the URL's, its host's, or that of something that all rows share?

The evidence is what happened to everything else on this machine during the attempt. A fault is
shared only where the evidence says so: a list of dead hosts on a good network stays a list of dead
hosts. Pure.
"""

from __future__ import annotations

from enum import Enum

from img2ds.congestion.machine import Floats
from img2ds.congestion.outage import ANSWERS, SILENCE
from img2ds.congestion.signals import Signal
from img2ds.core.failure import Failure, Reason


class Fault(Enum):
    """Where the cause of a failure is."""

    ROW = "row"  #: the URL or its host
    SHARED = "shared"  #: the network, the name servers or this machine
    UNCLEAR = "unclear"  #: nothing else happened that would tell


#: Failures for which the network may be to blame.
CONNECTING = frozenset((Reason.CONNECT_TIMEOUT.value,))
TRANSFERRING = frozenset((
    Reason.STALLED.value, Reason.TOO_SLOW.value, Reason.MAX_TIME.value,
    Reason.INCOMPLETE_BODY.value, Reason.CONNECT_RESET.value, Reason.CLOSED_BEFORE_REPLY.value,
))  # fmt: skip
#: Failures by a time limit, and seconds of silence after which an outage is noticed, with a probe.
SILENT = frozenset((Reason.STALLED.value, Reason.TOO_SLOW.value, Reason.MAX_TIME.value))
OUTAGE_SHOWS = SILENCE + 2.0
RESOLVING = frozenset((Reason.DNS_TIMEOUT.value, Reason.DNS_FAILURE.value))
OF_THE_NETWORK = (
    CONNECTING | TRANSFERRING | RESOLVING
    | {Reason.CONNECT_REFUSED.value, Reason.NETWORK_UNREACHABLE.value}
)  # fmt: skip

#: Share of connections with more than one SYN above which a host's silence says nothing of it. At
#: a loss of one in ten all of the four SYNs of ten seconds are lost once in 10 000 times.
MAX_LOSS = 0.10
#: SYNs of an attempt of ten seconds where the path drops them (see `net.tcp.REDIAL_AFTER`), the
#: least and the largest loss that are assumed for them, and how unlikely it must be that a host was
#: silent by chance.
SYNS, MIN_LOSS, MAX_LOSS_BELIEVED, BY_CHANCE = 7, 0.3, 0.9, 1e-4
#: Connections with one SYN that show that the path is clear, and for how many seconds they have to.
MIN_CLEAN, MIN_CLEAR = 3, 3
#: Hosts that had answered and now fail, as a share of all connections, and how many at least.
MAX_KNOWN_FAILURES, MIN_KNOWN_FAILURES = 0.05, 3
#: Share of slow bodies above which a stalled one says nothing of its host.
MAX_SLOW, MIN_SLOW = 0.2, 3
#: Bytes a second that a full link carries at least; less is what stalled servers send.
MIN_THROUGHPUT = 4000.0


def attribute(failure: Failure, growth: Floats, seconds: float, outage: bool) -> Fault:
    """Return whose fault a failure is.

    Args:
        growth: how the machine's totals grew during the attempt.
        seconds: how long the attempt took.
        outage: whether the network was out during the attempt.
    """
    reason = failure.reason
    if reason not in OF_THE_NETWORK:
        return Fault.ROW
    if outage or failure.shared:
        return Fault.SHARED
    if reason == Reason.NETWORK_UNREACHABLE.value:
        # It fails at once: whether others are answered from now on is not known yet.
        return Fault.UNCLEAR
    if reason == Reason.DNS_FAILURE.value:
        # A name server that fails says so at once, before anything is known of the others.
        return Fault.UNCLEAR
    if reason == Reason.DNS_TIMEOUT.value:
        return Fault.ROW  # the resolver has compared it with other names
    if _path_is_full(growth):
        return Fault.SHARED
    if reason in SILENT and seconds < OUTAGE_SHOWS and not _anything_answered(growth):
        return Fault.UNCLEAR  # an outage would not be noticed yet
    if reason in TRANSFERRING:
        return _transferring(growth, seconds)
    return Fault.ROW


def _anything_answered(growth: Floats) -> bool:
    return any(growth[signal] > 0 for signal in ANSWERS)


def all_lost(growth: Floats) -> float:
    """Return how likely it is that an attempt's SYNs were all lost on the way to a host that is up.

    A host that stays silent attempt after attempt is dead, also where the path is full.
    """
    clean, retransmitted = growth[Signal.CLEAN_CONNECTS], growth[Signal.ALL_RETRANSMITTED]
    loss = float(retransmitted / max(clean + retransmitted, 1.0))
    return min(max(loss, MIN_LOSS), MAX_LOSS_BELIEVED) ** SYNS


def is_clear(growth: Floats) -> bool:
    """Return whether it is certain that SYNs arrived: others were answered, hardly any was lost."""
    return growth[Signal.CLEAN_CONNECTS] >= MIN_CLEAN and not _path_is_full(growth)


def _path_is_full(growth: Floats) -> bool:
    clean, retransmitted = growth[Signal.CLEAN_CONNECTS], growth[Signal.ALL_RETRANSMITTED]
    known = growth[Signal.KNOWN_FAILURES]
    if retransmitted >= 2 and retransmitted > MAX_LOSS * (clean + retransmitted):
        return True
    return bool(
        known >= MIN_KNOWN_FAILURES and known > MAX_KNOWN_FAILURES * (clean + retransmitted)
    )


def _transferring(growth: Floats, seconds: float) -> Fault:
    slow, fast = growth[Signal.SLOW_BODIES], growth[Signal.FAST_BODIES]
    full = growth[Signal.BODY_BYTES] >= MIN_THROUGHPUT * seconds
    if full and slow >= MIN_SLOW and slow > MAX_SLOW * (slow + fast):
        return Fault.SHARED
    return Fault.ROW
