"""Rows that came to an end, counted: what was kept, and the others by reason.

Counting is exact: count = successes + the sum over reasons.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """Counts that merge.

    `bytes_received` is what was read for them; `figures` are sums that are not about rows, such
    as a stage's records and pages.
    """

    successes: int = 0
    bytes_received: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    metrics: Counter[str] = field(default_factory=Counter)

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
        self.metrics.update(other.metrics)
