"""Rows that came to an end, counted: what was kept, and the others by reason.

Counting is exact: count = successes + the sum over reasons.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

#: What a mark holds beside figures.
_NOT_FIGURES = {"count", "successes", "dropped", "reasons", "duration", "start_time", "end_time"}


@dataclass(slots=True)
class Counts:
    """Counts that merge.

    `bytes_received` is what was read for them; `figures` are sums that are not about rows, such
    as a stage's records and pages.
    """

    successes: int = 0
    bytes_received: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    figures: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """Rows that have come to an end."""
        return self.successes + self.reasons.total()

    def drop(self, reason: str, times: int = 1) -> None:
        """Rows end for `reason`."""
        if times:
            self.reasons[reason] += times

    def merge(self, other: Counts) -> None:
        """Add `other` to these."""
        self.successes += other.successes
        self.bytes_received += other.bytes_received
        self.reasons.update(other.reasons)
        self.figures.update(other.figures)

    @classmethod
    def of_mark(cls, mark: dict[str, Any]) -> Counts:
        """The counts that the mark of a committed shard holds."""
        figures = {k: v for k, v in mark.items() if k not in _NOT_FIGURES and isinstance(v, int)}
        return cls(
            successes=mark["successes"],
            reasons=Counter(mark["reasons"]),
            figures=Counter(figures),
        )

    def stats(self) -> dict[str, Any]:
        """The counting part of a `_stats.json`."""
        return {
            "count": self.count,
            "successes": self.successes,
            "dropped": self.reasons.total(),
            "reasons": dict(self.reasons.most_common()),
            **self.figures,
        }
