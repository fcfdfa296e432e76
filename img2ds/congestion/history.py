"""The machine's totals of the last two minutes: what happened in any span of them."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

import numpy as np

from img2ds.congestion.machine import Floats

#: Seconds between two samples, and samples kept.
INTERVAL, MAX_SAMPLES = 0.25, 480


class History:
    """Samples of totals by time."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MAX_SAMPLES)
        self._totals: deque[Floats] = deque(maxlen=MAX_SAMPLES)

    def add(self, now: float, totals: Floats) -> None:
        """Add a sample, unless the last one is fresh."""
        if not self._times or now - self._times[-1] >= INTERVAL:
            self._times.append(now)
            self._totals.append(totals)

    def since(self, when: float, totals: Floats) -> Floats:
        """Return how much the totals grew from `when`, or a moment before it, to `totals`."""
        place = bisect_right(self._times, when) - 1
        if not self._times:
            return np.zeros_like(totals)
        growth: Floats = totals - self._totals[max(place, 0)]
        return growth
