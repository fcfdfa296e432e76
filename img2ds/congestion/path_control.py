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
from enum import IntEnum

from img2ds.congestion.machine import Floats
from img2ds.congestion.rounds import Recent, RoundTrip
from img2ds.congestion.signals import Signal

#: Connections of a machine at first: what a poor router bears, where round trips are short.
FIRST_WINDOW = 64.0
#: Connections that are always allowed.
MIN_WINDOW = 4.0
#: Share of connections with more than one SYN that is no sign of a full path, and how many there
#: must be at least.
TOLERATED, MIN_RETRANSMITTED = 0.04, 3
#: Part of the window that must be in use: what few connections lose is not of our making.
LOADED = 0.4
#: Seconds after a cut until its effect is judged, and connections that takes.
JUDGED_AFTER, JUDGED_BY = 1.5, 12
#: Seconds after a cut at most until what was open beyond the window has been closed.
DRAINED_AFTER = 1.0
#: Seconds after which a SYN is sent again (RFC 6298 2.1), and its answer's way.
RETRANSMITTED_AFTER = 1.1
#: Where less than this part of the window was established at once, the path bears less than before.
FAR_BELOW = 0.75
#: A cut that leaves more than this share of the loss had no effect.
REMAINING = 0.6
#: Share of overdue attempts above which the window does not grow and idle connections are given
#: up: they may be what fills the path. And how many there must be at least.
MAX_OVERDUE, MIN_OVERDUE = 0.3, 8
#: Growth a second, as a factor: below the level that was refused, and above it.
FAST_GROWTH, SLOW_GROWTH = 1.6, 1.08
#: New connections a second above which there is no use in a limit.
MAX_RATE = 2000.0


class _Step(IntEnum):
    """How a cut lowers the limits; the next one follows where one has no effect."""

    LESS = 0  #: the window by twice the share that is lost, when it was cut before
    ESTABLISHED = 1  #: the window to what is established at once
    RATE = 2  #: the rate to what is established a second
    HALF = 3  #: both to half of that


@dataclass(frozen=True, slots=True)
class _Cut:
    """A cut whose effect is not known yet, and what was before it."""

    when: float
    loss: float
    window: float
    rate: float
    step: _Step
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
        self._trip = RoundTrip()
        self._cut: _Cut | None = None
        self._now: float | None = None

    @property
    def limited(self) -> bool:
        return math.isfinite(self._refused_window)

    def update(self, now: float, totals: Floats) -> None:
        """Take the machine's totals of now."""
        seconds = 0.0 if self._now is None else now - self._now
        self._now = now
        self.window = min(self.window, self.ceiling)
        self._recent.add(now, totals)
        self._trip.add(totals)
        growth = self._recent.growth()
        # Whether a connection needs a second SYN is known after a second.
        clean, retransmitted = self._recent.cohort(
            Signal.CLEAN_CONNECTS, Signal.RETRANSMITTED_CONNECTS, RETRANSMITTED_AFTER
        )
        loss = retransmitted / max(clean + retransmitted, 1.0)
        overdue = float(growth[Signal.OVERDUE_CONNECTS])
        made = float(growth[Signal.CLEAN_CONNECTS])
        self.idle = MIN_WINDOW if self._is_full() else 0.0
        self.lossy = retransmitted >= MIN_RETRANSMITTED and loss > TOLERATED
        cut = self._cut
        if cut is not None:
            if not cut.drained:
                taken = totals[Signal.OPEN] - totals[Signal.OVERDUE]
                if taken <= self.window + 1 or now >= cut.when + DRAINED_AFTER:
                    self._begin_epoch()
                    self._cut = replace(cut, when=now, drained=True)
                return
            if now < cut.when + JUDGED_AFTER or clean + retransmitted < JUDGED_BY:
                return
            self._cut = None
            if loss > REMAINING * cut.loss and loss > TOLERATED:
                self._without_effect(now, cut, loss)
                return
        loaded = totals[Signal.OPEN] >= LOADED * self.window
        if loaded and self.lossy and loss > TOLERATED + 1.5 * self._ambient:
            step = _Step.LESS if self.limited else _Step.ESTABLISHED
            before = max(loss, overdue / max(overdue + made, 1.0))
            self._cut = _Cut(now, before, self.window, self.rate, step)
            self._reduce(step, loss)
            return
        self._ambient = min(self._ambient, max(loss, self._ambient * 0.9**seconds))
        self._grow(seconds)

    def adopt(self, window: float, rate: float, epoch: float, *, limited: bool) -> None:
        """Begin with what another worker has found."""
        self.window, self.rate, self.epoch = window, rate, int(epoch)
        if limited:
            self._refused_window = window
        if math.isfinite(rate):
            self._refused_rate = rate
        self._begin_epoch()

    def restart(self) -> None:
        """Begin anew, after an outage: the path may be another one.

        What happened before the next `update` does not count: the SYNs that ended the outage were
        sent in it.
        """
        self.window, self.rate = FIRST_WINDOW, math.inf
        self._refused_window = self._refused_rate = math.inf
        self._ambient, self._cut = 0.0, None
        self._begin_epoch()
        self._recent = Recent()

    def _is_full(self) -> bool:
        """Return whether so many attempts are overdue that the path may bear no more.

        One second shows it soon after many were made, all seconds where few are made at a time.
        """
        for lately in (self._recent.lately(1.0), self._recent.growth()):
            overdue, made = lately[Signal.OVERDUE_CONNECTS], lately[Signal.CLEAN_CONNECTS]
            if overdue >= MIN_OVERDUE and overdue > MAX_OVERDUE * (overdue + made):
                return True
        return False

    def _without_effect(self, now: float, cut: _Cut, loss: float) -> None:
        """Cut harder; when nothing has an effect, the loss is the line's own."""
        if cut.step is not _Step.HALF:
            # Hosts that do not answer take more and more of a router's table.
            less = self._established() < FAR_BELOW * self.window
            step = _Step.ESTABLISHED if less else _Step(cut.step + 1)
            self._cut = replace(cut, when=now, step=step, drained=False)
            self._reduce(step, loss)
            return
        self._ambient = loss
        self.window, self.rate = cut.window, cut.rate
        self._refused_window = self._refused_rate = math.inf
        self._begin_epoch()

    def _reduce(self, step: _Step, loss: float) -> None:
        """Lower the limits by one step."""
        growth = self._recent.growth()
        made = float(growth[Signal.CLEAN_CONNECTS] + growth[Signal.ALL_RETRANSMITTED])
        rate = made / max(self._recent.seconds, 0.1)
        established = self._established()
        if step is _Step.HALF:
            established, rate = 0.5 * established, 0.5 * rate
        if step is _Step.LESS:
            established = max(established, (1.0 - 2.0 * loss) * self.window)
        if step is not _Step.RATE:
            self.window = self._refused_window = min(self.window, max(established, MIN_WINDOW))
        if step >= _Step.RATE or math.isfinite(self.rate):
            self.rate = self._refused_rate = min(self.rate, max(rate, 1.0))
        self._begin_epoch()

    def _established(self) -> float:
        """Return how many connections were established at once lately, or were about to be."""
        # By Little's law.
        connecting = self._recent.growth()[Signal.CONNECT_SECONDS] / max(self._recent.seconds, 0.1)
        return self._recent.highest(Signal.ESTABLISHED) + float(connecting)

    def _begin_epoch(self) -> None:
        self.epoch += 1
        self._recent.clear()

    def _grow(self, seconds: float) -> None:
        step = self._recent.step()
        if not self.limited:
            if self.window < self.ceiling and not self.idle:
                self.window += float(step[Signal.CLEAN_CONNECTS])
                first = min(FIRST_WINDOW * self._trip.stretch, self.ceiling)
                self.window = max(self.window, first)
            return
        if not float(self._recent.lately(1.0)[Signal.CLEAN_CONNECTS]):
            return  # nothing was tried
        factor = FAST_GROWTH if self.window < self._refused_window else SLOW_GROWTH
        grown = max(self.window * factor**seconds, self.window + seconds)
        if grown >= self.ceiling:
            self._refused_window = math.inf
        self.window = min(grown, self.ceiling)
        factor = FAST_GROWTH if self.rate < self._refused_rate else SLOW_GROWTH
        self.rate *= factor**seconds
        if self.rate > MAX_RATE:
            self.rate = math.inf
