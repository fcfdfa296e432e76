"""What the controllers share: sums over the last seconds, round trips, windows that fit them."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from img2ds.congestion.machine import Floats
from img2ds.congestion.signals import Signal

#: Seconds that rates are averaged over.
SPAN = 4.0
#: Seconds of a round trip for which the first windows are made, and by how much they are stretched
#: for long ones at most: a row takes as many times longer, so as many more make the same load.
#: Shorter ones than a satellite's may be the delays of a busy machine.
SHORT_TRIP, LONG_TRIP, MAX_STRETCH = 0.1, 0.4, 8.0
#: Connections by which a round trip is measured.
MIN_TRIPS = 8


class RoundTrip:
    """The shortest round trip lately: longer ones may be a queue of our own making."""

    def __init__(self) -> None:
        self._last: Floats | None = None
        self._seconds = math.inf

    def add(self, totals: Floats) -> None:
        """Add the totals of now."""
        if self._last is None:
            self._last = totals
        growth = totals - self._last
        if growth[Signal.CLEAN_CONNECTS] >= MIN_TRIPS:
            mean = float(growth[Signal.CONNECT_SECONDS] / growth[Signal.CLEAN_CONNECTS])
            self._seconds = min(self._seconds, mean)
            self._last = totals

    @property
    def stretch(self) -> float:
        """By how much longer round trips stretch a first window; 1 until they are known."""
        if math.isinf(self._seconds) or self._seconds < LONG_TRIP:
            return 1.0
        return min(self._seconds / SHORT_TRIP, MAX_STRETCH)


class Recent:
    """The totals of the last `SPAN` seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Floats]] = deque()

    def add(self, now: float, totals: Floats) -> None:
        """Add the totals of now."""
        self._samples.append((now, totals))
        while len(self._samples) > 2 and self._samples[1][0] <= now - SPAN:
            self._samples.popleft()

    @property
    def seconds(self) -> float:
        """How long ago the first sample is."""
        return self._samples[-1][0] - self._samples[0][0]

    def growth(self) -> Floats:
        """Return how much every number grew in `seconds`."""
        growth: Floats = self._samples[-1][1] - self._samples[0][1]
        return growth

    def lately(self, seconds: float) -> Floats:
        """Return how much every number grew in the last seconds, of which there are `SPAN`."""
        now, totals = self._samples[-1]
        growth: Floats = totals - self._at(now - seconds)
        return growth

    def cohort(self, early: int, late: int, delay: float) -> tuple[float, float]:
        """Return how much two numbers grew that count the same things, one of them later.

        Args:
            early: counts at once.
            late: counts `delay` seconds later.
        """
        first, last = self._samples[0], self._samples[-1]
        until = self._at(last[0] - delay)
        since = self._at(first[0] + delay)
        return float(until[early] - first[1][early]), float(last[1][late] - since[late])

    def _at(self, when: float) -> Floats:
        """Return the totals at a time."""
        return next((t for at, t in reversed(self._samples) if at <= when), self._samples[0][1])

    def step(self) -> Floats:
        """Return how much every number grew since the sample before the last."""
        if len(self._samples) < 2:
            return np.zeros_like(self._samples[-1][1])
        growth: Floats = self._samples[-1][1] - self._samples[-2][1]
        return growth

    def highest(self, place: int) -> float:
        """Return the highest value of a number."""
        return max(float(totals[place]) for _, totals in self._samples)

    def clear(self) -> None:
        """Forget all but the last sample."""
        while len(self._samples) > 1:
            self._samples.popleft()
