"""A worker that makes one shard after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from img2ds.core.failure import UsageError
from img2ds.engine.shard_output import DIGITS, ShardOutput
from img2ds.report.counters import Counts
from img2ds.storage import OutputFolder


@dataclass(frozen=True, slots=True)
class SequentialWorker:
    """Makes one shard after the other: a `Worker` for distributors.

    Attributes:
        make: writes the files and counts of a task's shard; picklable by reference. What it
            raises as OSError, UsageError or ArrowException fails the shard, which is retried.
        digits: digits of a shard's name.
        counts: what a shard's rows are counted in.
    """

    folder: OutputFolder
    make: Callable[[Any, ShardOutput], None]
    digits: int = DIGITS
    counts: Callable[[], Counts] = Counts

    def __call__(self, tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
        self.folder.clean_dead_workers()
        for task in tasks:
            shard = ShardOutput(self.folder, task.shard_id, self.digits, self.counts(), emit)
            try:
                report = shard.committed_report()
                if report is None:
                    self.make(task, shard)
            except (OSError, UsageError, pa.ArrowException) as error:
                report = shard.fail_with(error)
            emit(report or shard.commit())
