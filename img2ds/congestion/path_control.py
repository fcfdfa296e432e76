"""How many connections the path bears, and how many new ones a second.

Home routers, carriers and firewalls keep a table of connections, and some limit new ones a second;
what does not fit is dropped in silence. A dropped SYN is sent again after a second, so the sign of
a full path is connections that succeed with more than one SYN. Dead hosts give no such sign.

The window grows by one for each clean connection, as TCP's slow start (RFC 5681 3.1), until it is
cut: then to what was *established* at once, and the rate to what was established a second. That
costs no throughput, whichever of the two the path limits. Loss that a second, harder cut does not
lower is the line's own: the window is restored, and only higher loss counts from then on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from img2ds.congestion.machine import Floats
from img2ds.congestion.rounds import Recent
from img2ds.congestion.signals import Signal

#: Connections of a machine at first: what a poor router bears.
FIRST_WINDOW = 64.0
#: Connections that are always allowed.
MIN_WINDOW = 4.0
#: Share of connections with more than one SYN that is no sign of a full path, and how many there
#: must be at least.
TOLERATED, MIN_RETRANSMITTED = 0.04, 3
#: Seconds after a cut until its effect is judged, and connections that takes.
JUDGED_AFTER, JUDGED_BY = 2.5, 12
#: A cut that leaves more than this share of the loss had no effect.
REMAINING = 0.6
#: Growth a second, as a factor: below the level that was refused, and above it.
FAST_GROWTH, SLOW_GROWTH = 1.6, 1.04
#: New connections a second above which there is no use in a limit.
MAX_RATE = 2000.0


@dataclass(frozen=True, slots=True)
class _Cut:
    """A cut whose effect is not known yet, and what was before it."""

    when: float
    loss: float
    window: float
    rate: float
    hard: bool


class PathControl:
    """The window and the rate of connections. Call `update` about every tenth of a second.

    Args:
        ceiling: connections that the workers can have at most.

    Attributes:
        window: connections at once, idle ones too.
        rate: new connections a second; infinite without a limit.
        epoch: counts the cuts: connections begun before one say nothing of its effect.
        limited: whether the path has refused connections lately.
    """

    def __init__(self, ceiling: float) -> None:
        self.ceiling = ceiling
        self.window = FIRST_WINDOW
        self.rate = math.inf
        self.epoch = 0
        self._ambient = 0.0  # the loss that is the line's own
        self._refused_window = math.inf  # the level at the last cut
        self._refused_rate = math.inf
        self._recent = Recent()
        self._cut: _Cut | None = None
        self._now: float | None = None

    @property
    def limited(self) -> bool:
        return math.isfinite(self._refused_window)

    def update(self, now: float, totals: Floats) -> None:
        """Take the machine's totals of now."""
        seconds = 0.0 if self._now is None else now - self._now
        self._now = now
        self._recent.add(now, totals)
        growth = self._recent.growth()
        clean = float(growth[Signal.CLEAN_CONNECTS])
        retransmitted = float(growth[Signal.RETRANSMITTED_CONNECTS])
        loss = retransmitted / max(clean + retransmitted, 1.0)
        cut = self._cut
        if cut is not None:
            if now < cut.when + JUDGED_AFTER or clean + retransmitted < JUDGED_BY:
                return
            self._cut = None
            if loss > REMAINING * cut.loss and loss > TOLERATED:
                self._without_effect(now, cut, loss)
                return
        if retransmitted >= MIN_RETRANSMITTED and loss > TOLERATED + 1.5 * self._ambient:
            self._cut = _Cut(now, loss, self.window, self.rate, hard=False)
            self._reduce(now, 1.0)
            return
        self._ambient = min(self._ambient, max(loss, self._ambient * 0.9**seconds))
        self._grow(seconds)

    def restart(self) -> None:
        """Begin anew, after an outage: the path may be another one."""
        self.window, self.rate = FIRST_WINDOW, math.inf
        self._refused_window = self._refused_rate = math.inf
        self._ambient, self._cut = 0.0, None
        self._begin_epoch()

    def _without_effect(self, now: float, cut: _Cut, loss: float) -> None:
        """Cut harder; when that has no effect either, the loss is the line's own."""
        if not cut.hard:
            self._cut = _Cut(now, cut.loss, cut.window, cut.rate, hard=True)
            self._reduce(now, 0.5)
            return
        self._ambient = loss
        self.window, self.rate = cut.window, cut.rate
        self._refused_window = self._refused_rate = math.inf
        self._begin_epoch()

    def _reduce(self, now: float, factor: float) -> None:
        """Cut to what is established now, and a second, times `factor`."""
        growth = self._recent.growth()
        made = float(growth[Signal.CLEAN_CONNECTS] + growth[Signal.ALL_RETRANSMITTED])
        established = self._recent.highest(Signal.OPEN, Signal.CONNECTING)
        self.window = min(self.window, max(factor * established, MIN_WINDOW))
        if self._recent.seconds > 0:
            self.rate = min(self.rate, max(factor * made / self._recent.seconds, 1.0))
        self._refused_window, self._refused_rate = self.window, self.rate
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.epoch += 1
        self._recent.clear()

    def _grow(self, seconds: float) -> None:
        step = self._recent.step()
        if not self.limited:
            if self.window < self.ceiling:
                self.window += float(step[Signal.CLEAN_CONNECTS])
            return
        if not float(step[Signal.CLEAN_CONNECTS]):
            return  # nothing was tried
        growth = FAST_GROWTH if self.window < self._refused_window else SLOW_GROWTH
        grown = max(self.window * growth**seconds, self.window + seconds)
        self.window = min(grown, self.ceiling)
        growth = FAST_GROWTH if self.rate < self._refused_rate else SLOW_GROWTH
        self.rate *= growth**seconds
        if self.rate > MAX_RATE:
            self.rate = math.inf
