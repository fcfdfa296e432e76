"""How a host's limits grow again after a cut, and how long they stay below what was refused. Pure.

Fields are those of a `HostTable`, and `at` is where a host's begin.
"""

from __future__ import annotations

import math

from img2ds.congestion.host_table import Field

#: Share of a refused level that is safe.
SAFE = 0.97
#: Factor a second by which a rate grows up to a level that was refused, beyond it, and so far
#: beyond it that something else must have slowed the rows down, a full link for instance.
FAST_GROWTH, SLOW_GROWTH, FREE_GROWTH, FAR_BEYOND = 2.0, 1.02, 1.2, 1.3
#: Seconds below a level that was refused, at first and at most; at least so many pauses.
MIN_HOLD, MAX_HOLD, HOLD_PAUSES = 8.0, 120.0, 5.0
#: Seconds between two steps of growth: of a rate, and of a window beyond the level refused.
_GROWTH_INTERVAL, _WINDOW_STEP = 0.25, 2.0


def hold(fields: memoryview[float], at: int, pause: float, now: float) -> None:
    """Keep the limits below the level that was refused: longer where that was known before."""
    known = fields[at + Field.REFUSED_RATE] or fields[at + Field.REFUSED_WINDOW]
    repeated = known and fields[at + Field.HOLD_UNTIL] < now
    seconds = min(fields[at + Field.HOLD] * 2, MAX_HOLD) if repeated else 0.0
    seconds = max(seconds or MIN_HOLD, HOLD_PAUSES * pause)
    fields[at + Field.HOLD] = seconds
    fields[at + Field.HOLD_UNTIL] = now + pause + seconds


def grow(fields: memoryview[float], at: int, now: float, most: float) -> None:
    """Let the limits grow after a row was accepted; a window of `most` is none."""
    holds = now < fields[at + Field.HOLD_UNTIL]
    _grow_window(fields, at, now, most)
    passed = now - fields[at + Field.GROWN_AT]
    if passed < _GROWTH_INTERVAL:
        return
    fields[at + Field.GROWN_AT] = now
    rate = fields[at + Field.RATE]
    if rate:
        level = fields[at + Field.REFUSED_RATE] * SAFE or math.inf
        passed = min(passed, 1.0)
        if rate < level:
            rate = min(rate * FAST_GROWTH**passed, level)
        elif not holds:
            far = rate > FAR_BEYOND * fields[at + Field.REFUSED_RATE]
            rate *= (FREE_GROWTH if far else SLOW_GROWTH) ** passed
        fields[at + Field.RATE] = rate


def _grow_window(fields: memoryview[float], at: int, now: float, most: float) -> None:
    window = fields[at + Field.WINDOW]
    if not window:
        return
    refused = fields[at + Field.REFUSED_WINDOW] or math.inf
    if window < refused - 1:
        # After a ban it doubles with each round of responses.
        fields[at + Field.WINDOW] = window = window + 1.0
    elif now >= fields[at + Field.HOLD_UNTIL]:
        fields[at + Field.WINDOW] = window = window + 1.0
        fields[at + Field.HOLD_UNTIL] = now + _WINDOW_STEP
    if window >= most:
        fields[at + Field.WINDOW] = 0.0
