"""Rows, images and bytes over the time in which shards were made. Pure.

The pauses between runs are left out: a dataset that was resumed after a week is not a flat line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Points of a timeline.
POINTS = 60
#: Seconds without a shard in progress above which there was no run.
PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class Span:
    """A committed shard: from its first row to its commit, in seconds since 1970."""

    start: float
    end: float
    rows: int
    successes: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Point:
    """What was done in one part of the time.

    Attributes:
        seconds: how long it was.
    """

    seconds: float
    rows: float = 0.0
    successes: float = 0.0
    bytes: float = 0.0


def timeline(spans: Sequence[Span], points: int = POINTS) -> list[Point]:
    """Return what was done in each of `points` equal parts of the time; none without a shard.

    A shard counts evenly over the time that it took.
    """
    moved = _without_pauses(spans)
    if not moved:
        return []
    first, last = min(span.start for span in moved), max(span.end for span in moved)
    step = max((last - first) / points, 1e-3)
    sums = [[0.0, 0.0, 0.0] for _ in range(points)]
    for span in moved:
        length = max(span.end - span.start, 1e-3)
        low = min(int((span.start - first) / step), points - 1)
        for place in range(low, points):
            start = first + place * step
            part = min(span.end, start + step) - max(span.start, start)
            if part <= 0 and place > low:
                break
            share = 1.0 if length <= 1e-3 else max(part, 0.0) / length
            for index, value in enumerate((span.rows, span.successes, span.bytes)):
                sums[place][index] += share * value
    return [Point(step, *values) for values in sums]


def _without_pauses(spans: Sequence[Span]) -> list[Span]:
    """Move what came after a pause to its begin."""
    moved = []
    gone, until = 0.0, None
    for span in sorted(spans, key=lambda span: span.start):
        if until is not None and span.start > until + PAUSE:
            gone += span.start - until
        until = max(until or span.end, span.end)
        moved.append(
            Span(span.start - gone, span.end - gone, span.rows, span.successes, span.bytes)
        )
    return moved
