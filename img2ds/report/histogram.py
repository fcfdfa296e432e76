"""Histograms of durations with fixed bounds, so that those of shards add up. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

#: Lower bounds of the buckets after the first, in seconds.
BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)


class Durations:
    """Counts of durations by bucket.

    Args:
        counts: one for each bucket, to go on from.
    """

    __slots__ = ("counts",)

    def __init__(self, counts: Iterable[int] = ()) -> None:
        self.counts = list(counts) or [0] * (len(BOUNDS) + 1)

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_right(BOUNDS, seconds)] += 1

    def merge(self, other: Durations) -> None:
        """Add other counts to these."""
        self.counts = [
            mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)
        ]

    @property
    def total(self) -> int:
        """Durations that were counted."""
        return sum(self.counts)

    def rows(self) -> list[tuple[str, int]]:
        """Return the buckets from the first to the last that is not empty, with their names."""
        filled = [place for place, count in enumerate(self.counts) if count]
        if not filled:
            return []
        return [(_name(place), self.counts[place]) for place in range(filled[0], filled[-1] + 1)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Durations) and self.counts == other.counts

    __hash__ = None  # type: ignore[assignment]


def _name(place: int) -> str:
    if not place:
        return f"below {_shown(BOUNDS[0])}"
    if place == len(BOUNDS):
        return f"from {_shown(BOUNDS[-1])}"
    return f"{_shown(BOUNDS[place - 1])} to {_shown(BOUNDS[place])}"


def _shown(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{1000 * seconds:g} ms"
