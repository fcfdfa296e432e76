"""Which pairs of a shard are kept, and what the others are dropped for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from laion.data.embedding_folder import EmbeddingShard
from laion.filter.condition import Condition
from laion.filter.rules import Mask, Rows, Rule
from laion.filter.second_scores import SecondScores

#: What the share of a second model's scores is called.
SECOND = "second similarity"


@dataclass(frozen=True, slots=True)
class Selection:
    """What is kept. Picklable: it is sent to the workers.

    Attributes:
        rules: those of a recipe, after the condition.
        column: what `threshold` is compared with; None to compare nothing.
        second: compared instead of a column.
    """

    condition: Condition | None = None
    rules: tuple[Rule, ...] = ()
    column: str | None = None
    threshold: float = 0.0
    second: SecondScores | None = None

    def kept(self, source: EmbeddingShard, table: pa.Table) -> tuple[Mask, Counter[str]]:
        """Return which rows are kept, and how many are dropped for what."""
        rows = Rows(source, table)
        kept, reasons = self.passing(rows)
        if self.column is not None or self.second is not None:
            reaches = self.values(rows) >= np.float32(self.threshold)
            name = self.column or SECOND
            reasons[f"{name} >= {self.threshold:.6g}"] = int((kept & ~reaches).sum())
            kept &= reaches
        return kept, +reasons

    def passing(self, rows: Rows) -> tuple[Mask, Counter[str]]:
        """Return the rows that fulfil the condition and the rules, and why others do not."""
        reasons: Counter[str] = Counter()
        kept = np.ones(rows.table.num_rows, np.bool_)
        if self.condition is not None:
            failed = self.condition.first_failed(rows.table)
            kept = failed < 0
            for number in range(len(self.condition.clauses)):
                reasons[self.condition.reason(number)] += int((failed == number).sum())
        for rule in self.rules:
            failed = rule.failed(rows)
            for number, reason in enumerate(rule.reasons):
                reasons[reason] += int((kept & (failed == number)).sum())
            kept &= failed < 0
        return kept, reasons

    def values(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return what is compared with the threshold; NaN where a pair has none."""
        if self.second is not None:
            return self.second.values(rows)
        return rows.numbers(self.column or "")
