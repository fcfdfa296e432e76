"""What the controllers share: sums over the last seconds, and growth that waits for evidence."""

from __future__ import annotations

from collections import deque

import numpy as np

from img2ds.congestion.machine import Floats

#: Seconds that rates are averaged over.
SPAN = 4.0


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

    def highest(self, *places: int) -> float:
        """Return the highest value of the first number less the others."""
        first, *others = places
        return max(float(t[first] - sum(t[o] for o in others)) for _, t in self._samples)

    def clear(self) -> None:
        """Forget all but the last sample."""
        while len(self._samples) > 1:
            self._samples.popleft()
