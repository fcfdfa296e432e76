"""How many rows the link bears at once, so that each body keeps a rate at which it ends in time.

A thin link shares its rate among all bodies that arrive: with too many, all of them crawl, and
those that get nothing for a while are given up. The sign is that most bodies take longer than
`SLOW_BODY` seconds. Few slow bodies are slow servers. Where fewer rows at once only lower the
throughput, the servers are slow, all of them, and the window is restored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from img2ds.congestion.machine import Floats
from img2ds.congestion.rounds import Recent, RoundTrip
from img2ds.congestion.signals import SLOW_BODY, Signal

#: Rows in progress on a machine at first, where round trips are short.
FIRST_WINDOW = 64.0
#: Rows that are always allowed; and those more that would be quick bodies at the best rate lately,
#: of which this part is left after a second: a phone's link is another one soon.
MIN_WINDOW, REMEMBERED = 4.0, 0.95
#: Share of slow bodies that shows a full link, and how many there must be at least.
FULL, MIN_SLOW = 0.5, 5
#: Part of the window that must be in use: few slow bodies at the end of a list fill no link.
LOADED = 0.4
#: A cut to this part of the bodies that arrive.
CUT = 0.5
#: Seconds after a cut until its effect shows: what is under way has to end.
SETTLING = 2 * SLOW_BODY
#: Where a cut lowered the throughput below this part, the link was not full: if bodies arrive about
#: as fast as before, each. Else the link has become thinner.
NOT_FULL, AS_FAST = 0.7, 0.75
#: Seconds for which that is believed.
BELIEVED = 60.0
#: Rows more for each body that was not slow, as long as most rows wait for something else: round
#: trips of half a second would keep the link empty for long otherwise.
STARTING_GROWTH = 3.0
#: Bodies that arrive within this time on average are quick: the link bears more, whatever it bore
#: before. And how many must have ended in the last second.
QUICK_BODY, MIN_QUICK = 0.5, 3
#: Growth a second, as a factor: while bodies are quick, below the level of the last cut, above it,
#: and above it while no body is slow.
QUICK_GROWTH, FAST_GROWTH, SLOW_GROWTH, CALM_GROWTH = 3.0, 1.6, 1.04, 1.2


@dataclass(frozen=True, slots=True)
class _Cut:
    """A cut whose effect is not known yet, and what was before it; bytes a second.

    Attributes:
        each: of each body.
    """

    when: float
    window: float
    throughput: float
    each: float


class LinkControl:
    """The window of rows in progress. Call `update` about every tenth of a second.

    Args:
        ceiling: rows that the workers can have in progress at most.

    Attributes:
        window: rows in progress at once.
        throughput: bytes of bodies a second, lately.
        limited: whether the link was full lately.
    """

    def __init__(self, ceiling: float) -> None:
        self.ceiling = ceiling
        self.window = FIRST_WINDOW
        self.throughput = 0.0
        self._full_window = math.inf  # the level of the last cut
        self._best = 0.0  # bodies a second, lately
        self._recent = Recent()
        self._trip = RoundTrip()
        self._cut: _Cut | None = None
        self._believed_until = -math.inf
        self._now: float | None = None

    @property
    def limited(self) -> bool:
        return math.isfinite(self._full_window)

    def update(self, now: float, totals: Floats) -> None:
        """Take the machine's totals of now."""
        seconds = 0.0 if self._now is None else now - self._now
        self._now = now
        self.window = min(self.window, self.ceiling)
        self._recent.add(now, totals)
        self._trip.add(totals)
        growth = self._recent.growth()
        if self._recent.seconds > 0:
            self.throughput = float(growth[Signal.BODY_BYTES]) / self._recent.seconds
        quick = self._is_quick(seconds, totals)
        if self._cut is not None and now < self._cut.when + SETTLING and not quick:
            return
        slow, fast = float(growth[Signal.SLOW_BODIES]), float(growth[Signal.FAST_BODIES])
        loaded = totals[Signal.REQUESTS] >= LOADED * self.window and now >= self._believed_until
        if loaded and slow >= MIN_SLOW and slow > FULL * (slow + fast) and not quick:
            self._reduce(now, totals)
        else:
            self._cut = None
            self._grow(seconds, slow, fast, quick=quick)

    def adopt(self, window: float) -> None:
        """Begin with what another worker has found."""
        self.window = window
        if math.isfinite(window):
            self._full_window = window

    def restart(self) -> None:
        """Begin anew, after an outage."""
        self.window, self._full_window, self._cut = FIRST_WINDOW, math.inf, None
        self._recent.clear()

    def _reduce(self, now: float, totals: Floats) -> None:
        cut = self._cut
        arriving = max(float(totals[Signal.BODIES]), MIN_WINDOW)
        each = self.throughput / arriving
        slower = cut is not None and self.throughput < NOT_FULL * cut.throughput
        if cut is not None and slower and each >= AS_FAST * cut.each:
            self.window, self._full_window, self._cut = cut.window, math.inf, None
            self._believed_until = now + BELIEVED
            return
        self._cut = _Cut(now, self.window, self.throughput, each)
        least = MIN_WINDOW + QUICK_BODY * self._best
        self.window = min(self.window, max(min(self.window, arriving) * CUT, least))
        self._full_window = self.window
        self._recent.clear()

    def _is_quick(self, seconds: float, totals: Floats) -> bool:
        """Return whether bodies are quick, and remember how many end in a second."""
        ended = float(self._recent.lately(1.0)[Signal.FAST_BODIES])
        self._best = max(ended, self._best * REMEMBERED**seconds)
        # By Little's law, as many arrive at once as end in a second, times the seconds each takes.
        return ended >= MIN_QUICK and float(totals[Signal.BODIES]) < QUICK_BODY * ended

    def _grow(self, seconds: float, slow: float, fast: float, *, quick: bool) -> None:
        if not self.limited and not slow:
            self.window = max(self.window, min(FIRST_WINDOW * self._trip.stretch, self.ceiling))
        ended = float(self._recent.step()[Signal.FAST_BODIES])
        if not ended or (slow > FULL * fast and not quick):
            return
        if not self.limited:
            self.window = max(self.window, min(self.window + STARTING_GROWTH * ended, self.ceiling))
            return
        if quick:
            growth = QUICK_GROWTH
        elif self.window < self._full_window:
            growth = FAST_GROWTH
        else:
            growth = SLOW_GROWTH if slow else CALM_GROWTH
        self.window = max(self.window * growth**seconds, self.window + seconds)
        if self.window >= self.ceiling:
            self.window, self._full_window = self.ceiling, math.inf
