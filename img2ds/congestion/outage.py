"""Outages: nothing comes from the network any more. Pure; the caller does the probing.

A run is suspicious when it works and nothing at all is answered for a while. Then a probe decides:
a connection to a host that answered before, or, without one, a question to the name servers. So a
list of dead hosts is no outage: the probe is answered.
"""

from __future__ import annotations

from enum import Enum, IntEnum

from img2ds.congestion.machine import Floats
from img2ds.congestion.signals import Signal

#: Seconds without any answer that make a run suspicious: more than two retransmissions of a SYN
#: take, and less where there is no route.
SILENCE, SILENCE_WITHOUT_ROUTE = 4.0, 0.5
#: Seconds until the next probe after one that was answered, and after one that was not: at least,
#: and at most. In between it is a part of the outage so far, so that its end is noticed in time.
PROBE_AGAIN, MIN_PAUSE, MAX_PAUSE, PART = 5.0, 0.5, 5.0, 0.05

#: Seconds without a page of the portal after which it is gone; rows ask a few at a time meanwhile.
PORTAL_ENDS, PORTAL_ROWS = 1.0, 4.0


class Outage(IntEnum):
    """What is out."""

    NONE = 0
    NETWORK = 1  #: nothing answers
    ROUTE = 2  #: this machine has no route
    NAME_SERVER = 3  #: hosts are not asked, because the name servers fail
    PORTAL = 4  #: all hosts give one answer

    @property
    def words(self) -> str:
        """Return what people read, as in "no network since 14:02:31"."""
        return _WORDS[self]


_WORDS = {
    Outage.NONE: "",
    Outage.NETWORK: "no network",
    Outage.ROUTE: "no network (no route)",
    Outage.NAME_SERVER: "name servers do not answer",
    Outage.PORTAL: "a portal answers for all hosts",
}


class Wants(Enum):
    """What the caller has to do."""

    NOTHING = "nothing"
    PROBE = "probe"


class OutageControl:
    """Decides when the network is out. Call `update` often, and `probed` with a probe's result.

    Attributes:
        outage: what is out.
        ended_at: when the last outage ended.
    """

    def __init__(self) -> None:
        self.outage = Outage.NONE
        self.ended_at = float("-inf")
        self._last: Floats | None = None
        self._answered_at = 0.0
        self._next_probe = 0.0
        self._began = 0.0
        self._portal_at = 0.0

    def update(self, now: float, totals: Floats) -> Wants:
        """Take the machine's totals of now. Returns whether the network has to be probed."""
        if self._last is None:
            self._last, self._answered_at = totals, now
            return Wants.NOTHING
        growth = totals - self._last
        if growth[Signal.PORTAL_PAGES] > 0:
            self._last, self._answered_at, self._portal_at = totals, now, now
            self.outage = Outage.PORTAL
            return Wants.NOTHING
        if self.outage is Outage.PORTAL and now < self._portal_at + PORTAL_ENDS:
            return Wants.NOTHING
        if any(growth[signal] > 0 for signal in ANSWERS):
            self._last, self._answered_at = totals, now
            self._end(now)
            return Wants.NOTHING
        tried = sum(totals[gauge] for gauge in _TRYING) + sum(growth[count] for count in _FAILED)
        if not tried:
            self._answered_at = now
            return Wants.NOTHING
        without_route = growth[Signal.UNREACHABLE] + growth[Signal.DNS_UNREACHABLE] > 0
        silence = SILENCE_WITHOUT_ROUTE if without_route else SILENCE
        if self.outage is Outage.NONE and now < self._answered_at + silence:
            return Wants.NOTHING
        return Wants.PROBE if now >= self._next_probe else Wants.NOTHING

    def probed(self, now: float, answered: bool, totals: Floats, asked_host: bool) -> None:
        """Take a probe's result; `asked_host` when a known host was asked, not a name server."""
        if answered:
            self._last, self._answered_at = totals, now
            self._next_probe = now + PROBE_AGAIN
            self._end(now)
            return
        if self.outage is Outage.NONE:
            self._began = now
            assert self._last is not None
            growth = totals - self._last
            if growth[Signal.UNREACHABLE] + growth[Signal.DNS_UNREACHABLE] > 0:
                self.outage = Outage.ROUTE
            else:
                self.outage = Outage.NETWORK if asked_host else Outage.NAME_SERVER
        self._next_probe = now + min(max(PART * (now - self._began), MIN_PAUSE), MAX_PAUSE)

    def _end(self, now: float) -> None:
        if self.outage is not Outage.NONE:
            self.outage, self.ended_at = Outage.NONE, now


ANSWERS = (Signal.ANSWERS, Signal.BODY_BYTES, Signal.DNS_ANSWERED)
_TRYING = (Signal.CONNECTING, Signal.DNS_IN_FLIGHT, Signal.BODIES)
_FAILED = (
    Signal.CONNECT_TIMEOUTS, Signal.UNREACHABLE, Signal.DNS_FAILED, Signal.DNS_TIMEOUTS,
    Signal.DNS_UNREACHABLE,
)  # fmt: skip
