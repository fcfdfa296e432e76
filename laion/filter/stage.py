"""`laion filter`: keeps the pairs that an SQL condition, or a share of the best, selects.

Each dropped pair is counted under the first clause that it does not fulfil. A value that is NULL
fulfils none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from img2ds.core.failure import UsageError
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import ShardOutput
from img2ds.report.console import Labels
from laion.data.embedding_folder import EmbeddingFolder, EmbeddingShard, open_embedding_folder
from laion.data.embedding_layout import FOLDERS
from laion.data.embedding_writer import copy_rows
from laion.filter.condition import Condition
from laion.filter.options import FilterOptions
from laion.filter.share import threshold_of
from laion.stage import StageReport, StageSpec, open_stage

LABELS = Labels("shard", "pairs", "pairs/s", "kept")


@dataclass(frozen=True, slots=True)
class Selection:
    """What is kept. Picklable: it is sent to the workers.

    Attributes:
        column: what `threshold` is compared with; None to compare nothing.
    """

    condition: Condition | None = None
    column: str | None = None
    threshold: float = 0.0

    def dropped(self, table: pa.Table) -> tuple[npt.NDArray[np.bool_], Counter[str]]:
        """Return which rows are kept, and how many are dropped for what."""
        reasons: Counter[str] = Counter()
        kept = np.ones(table.num_rows, np.bool_)
        if self.condition is not None:
            failed = self.condition.first_failed(table)
            kept = failed < 0
            for number in range(len(self.condition.clauses)):
                reasons[self.condition.reason(number)] += int((failed == number).sum())
        if self.column is not None:
            reaches = values_of(table, self.column) >= np.float32(self.threshold)
            reasons[f"{self.column} >= {self.threshold:.6g}"] = int((kept & ~reaches).sum())
            kept &= reaches
        return kept, +reasons


@dataclass(frozen=True, slots=True)
class FilterTask:
    """One shard to filter."""

    shard_id: int
    source: EmbeddingShard
    selection: Selection


def run(options: FilterOptions) -> StageReport:
    """Filter what is not filtered yet.

    Raises:
        UsageError: something about it cannot work; nothing was done.
    """
    required = (options.by,) if options.keep_top is not None else ()
    source = open_embedding_folder(options.input, required)
    selection = _selection(options, source)
    spec = StageSpec(
        stage="filter",
        options=options,
        fingerprint=source.fingerprint(),
        shard_count=len(source.shards),
        labels=LABELS,
        subfolders=FOLDERS,
        model=source.model,
    )
    with open_stage(spec) as build:
        first = build.first_shard
        tasks = [FilterTask(first + n, one, selection) for n, one in enumerate(source.shards)]
        build.run(SequentialWorker(build.folder, make_shard), tasks)
    return build.report


def make_shard(task: FilterTask, shard: ShardOutput) -> None:
    """Filter one shard."""
    table = task.source.table()
    kept, reasons = task.selection.dropped(table)
    copy_rows(task.source, table, kept, shard.name, shard.path)
    shard.counts.successes += int(kept.sum())
    shard.counts.reasons.update(reasons)


def values_of(table: pa.Table, column: str) -> npt.NDArray[np.float32]:
    """Return the numbers of a column; NULL is NaN."""
    values = pc.fill_null(pc.cast(table[column], pa.float32()), float("nan"))
    return np.asarray(values.to_numpy())


def _selection(options: FilterOptions, source: EmbeddingFolder) -> Selection:
    schema = source.shards[0].schema()
    condition = None
    if options.where is not None:
        condition = Condition(options.where)
        condition.check(schema)
    if options.keep_top is None:
        return Selection(condition)
    kind = schema.field(options.by).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise UsageError(f"--by {options.by} is a column of {kind}: --keep_top compares numbers")

    def read() -> Iterator[npt.NDArray[np.float32]]:
        for shard in source.shards:
            table = shard.table(None if condition else [options.by])
            values = values_of(table, options.by)
            yield values[condition.first_failed(table) < 0] if condition else values

    threshold = threshold_of(options.keep_top, read)
    return Selection(condition, options.by, float("inf") if threshold is None else threshold)
