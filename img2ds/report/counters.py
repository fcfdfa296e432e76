"""Counts of rows: those that were kept, and the others by reason. Counts merge.

Counting is exact: count = successes + the sum over reasons.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """Counts of rows, of a shard or of a run.

    Attributes:
        successes: rows that were kept.
        bytes_received: bytes read for all rows.
        reasons: rows that were not kept, by reason.
        metrics: sums that are not about rows, such as the pages that a stage read.
    """

    successes: int = 0
    bytes_received: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    metrics: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """Rows that have ended."""
        return self.successes + self.reasons.total()

    def drop(self, reason: str, times: int = 1) -> None:
        """Count rows that were not kept."""
        if times:
            self.reasons[reason] += times

    def merge(self, other: Counts) -> None:
        """Add other counts to these."""
        self.successes += other.successes
        self.bytes_received += other.bytes_received
        self.reasons.update(other.reasons)
        self.metrics.update(other.metrics)
