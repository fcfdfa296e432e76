"""When a response that does not come is asked for again, on another connection. Pure.

TCP sends again what was lost, but waits twice as long each time: a connection that lost much on a
full or lossy path may be silent for a minute after that, while others are quick. So where packets
were lost lately and most bodies arrive in time, a row does not wait for its connection. Where the
path is full now, all are late, and asking again would make it fuller.
"""

from __future__ import annotations

from img2ds.congestion.machine import Floats
from img2ds.congestion.rounds import Recent
from img2ds.congestion.signals import Signal

#: Seconds for which losses are remembered: TCP's longest waits.
REMEMBERED = 60.0
#: Share of slow bodies below which the path is not full now, and how many are always tolerated.
MAX_SLOW, FEW_SLOW = 0.2, 2


class Patience:
    """Whether to be impatient. Call `update` about every tenth of a second."""

    def __init__(self) -> None:
        self._recent = Recent()
        self._lost_at = -REMEMBERED

    def update(self, now: float, totals: Floats, *, loses: bool) -> bool:
        """Take the machine's totals of now, and whether the path loses packets; return whether."""
        if loses:
            self._lost_at = now
        self._recent.add(now, totals)
        growth = self._recent.growth()
        slow, fast = float(growth[Signal.SLOW_BODIES]), float(growth[Signal.FAST_BODIES])
        calm = slow <= FEW_SLOW or slow <= MAX_SLOW * (slow + fast)
        return calm and now < self._lost_at + REMEMBERED
