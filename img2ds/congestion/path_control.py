"""How many connections the path bears, and how many new ones a second.

Home routers, carriers and firewalls keep a table of connections, and some limit new ones a second;
what does not fit is dropped in silence. A dropped SYN is sent again after a second, so the sign of
a full path is connections that succeed with more than one SYN. Dead hosts give no such sign.

The window grows by one for each clean connection, as TCP's slow start (RFC 5681 3.1), until it is
cut: to what was *established* at once, which costs no throughput. Where that does not lower the
loss, the rate is cut to what was established a second, and where that does not either, both are
halved. Loss that remains is the line's own: the limits are restored, and only higher loss counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

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
JUDGED_AFTER, JUDGED_BY = 1.5, 12
#: A cut that leaves more than this share of the loss had no effect.
REMAINING = 0.6
#: Share of overdue attempts above which the window does not grow and idle connections are given
#: up: they may be what fills the path. And how many there must be at least.
MAX_OVERDUE, MIN_OVERDUE = 0.3, 8
#: What is established when the path is full may include what is being closed.
MARGIN = 0.9
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
    step: int  # 0: the window was cut; 1: the rate, too; 2: both were halved
    drained: bool = False  # what was open beyond the window has been closed


class PathControl:
    """The window and the rate of connections. Call `update` about every tenth of a second.

    Args:
        ceiling: connections that the workers can have at most.

    Attributes:
        window: connections at once, idle ones too.
        rate: new connections a second; infinite without a limit.
        idle: connections that may be kept alive; 0 without a limit.
        epoch: counts the cuts: connections begun before one say nothing of its effect.
        limited: whether the window was cut and has not been restored.
        lossy: whether SYNs are lost now, whatever the cause.
    """

    def __init__(self, ceiling: float) -> None:
        self.ceiling = ceiling
        self.window = FIRST_WINDOW
        self.rate = math.inf
        self.idle = 0.0
        self.lossy = False
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
        overdue = float(growth[Signal.OVERDUE_CONNECTS])
        full = overdue >= MIN_OVERDUE and overdue > MAX_OVERDUE * (overdue + clean)
        self.idle = MIN_WINDOW if full else 0.0
        self.lossy = retransmitted >= MIN_RETRANSMITTED and loss > TOLERATED
        cut = self._cut
        if cut is not None:
            if not cut.drained:
                if totals[Signal.OPEN] - totals[Signal.OVERDUE] <= self.window + 1:
                    self._begin_epoch()
                    self._cut = replace(cut, when=now, drained=True)
                return
            if now < cut.when + JUDGED_AFTER or clean + retransmitted < JUDGED_BY:
                return
            self._cut = None
            if loss > REMAINING * cut.loss and loss > TOLERATED:
                self._without_effect(now, cut, loss)
                return
        if retransmitted >= MIN_RETRANSMITTED and loss > TOLERATED + 1.5 * self._ambient:
            loss = max(loss, overdue / max(overdue + clean, 1.0))
            self._cut = _Cut(now, loss, self.window, self.rate, step=0)
            self._reduce(0)
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
        """Cut harder; when nothing has an effect, the loss is the line's own."""
        if cut.step < 2:
            self._cut = replace(cut, when=now, step=cut.step + 1, drained=False)
            self._reduce(cut.step + 1)
            return
        self._ambient = loss
        self.window, self.rate = cut.window, cut.rate
        self._refused_window = self._refused_rate = math.inf
        self._begin_epoch()

    def _reduce(self, step: int) -> None:
        """Cut to what is established now, and a second; see `_Cut.step`."""
        growth = self._recent.growth()
        made = float(growth[Signal.CLEAN_CONNECTS] + growth[Signal.ALL_RETRANSMITTED])
        established = self._recent.highest(Signal.OPEN, Signal.CONNECTING)
        factor = 0.5 if step == 2 else MARGIN
        if step != 1:
            self.window = min(self.window, max(factor * established, MIN_WINDOW))
            self._refused_window = self.window
        if step > 0 or math.isfinite(self.rate):
            self.rate = min(self.rate, max(factor * made / self._recent.seconds, 1.0))
            self._refused_rate = self.rate
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.epoch += 1
        self._recent.clear()

    def _grow(self, seconds: float) -> None:
        step = self._recent.step()
        if not self.limited:
            if self.window < self.ceiling and not self.idle:
                self.window += float(step[Signal.CLEAN_CONNECTS])
            return
        if not float(step[Signal.CLEAN_CONNECTS]):
            return  # nothing was tried
        factor = FAST_GROWTH if self.window < self._refused_window else SLOW_GROWTH
        grown = max(self.window * factor**seconds, self.window + seconds)
        self.window = min(grown, self.ceiling)
        factor = FAST_GROWTH if self.rate < self._refused_rate else SLOW_GROWTH
        self.rate *= factor**seconds
        if self.rate > MAX_RATE:
            self.rate = math.inf
