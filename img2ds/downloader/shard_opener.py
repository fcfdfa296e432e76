"""Opens the shards of a dataset: reads their rows, and resumes partial ones."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from img2ds.config.options import Options
from img2ds.core.failure import Failure, UsageError
from img2ds.core.sample import ShardTask
from img2ds.downloader.dataset_sink import DatasetSink
from img2ds.downloader.resume import restore
from img2ds.downloader.retried_rows import RetriedRows
from img2ds.downloader.shard import Shard
from img2ds.engine.shard_output import ShardOutput
from img2ds.formats.contract import DamagedShardError
from img2ds.report.shard_report import ShardReport
from img2ds.source.ranges import RangeReader, read_rows
from img2ds.storage import OutputFolder


class ShardOpener:
    """Opens the shards of a dataset: reads the rows of their tasks.

    Args:
        retried: rows that a retry has: they fail as before.
    """

    def __init__(
        self, options: Options, folder: OutputFolder, retried: RetriedRows | None = None
    ) -> None:
        self._options = options
        self._folder = folder
        self._retried = retried or {}
        self._reader = RangeReader()

    def __call__(self, task: ShardTask) -> Shard | ShardReport[Any]:
        """Return the shard to make, or the report of one that is committed already."""
        output = ShardOutput(self._folder, task.shard_id, self._options.output.oom_shard_count)
        report = output.committed_report()
        if report is not None:
            return report
        table = read_rows(task, self._options.input.columns, self._reader)
        notes = []
        try:
            shard = self._resumed(task, table, output)
            if shard is not None:
                return shard
        except (DamagedShardError, UsageError) as error:
            notes.append(f"the partial shard {output.name} is damaged, and is rebuilt: {error}")
            output.remove_partial()
        shard = self._shard(task, table, output)
        shard.notes += notes
        return shard

    def _resumed(self, task: ShardTask, table: pa.Table, output: ShardOutput) -> Shard | None:
        """Return the shard as it was saved; None if it was not. Raises DamagedShardError."""
        found = output.find_partial()
        if found is None:
            return None
        folder, marker = found
        shard = self._shard(task, table, output)
        try:
            restore(shard, output.name, marker, folder, self._options)
        except DamagedShardError:
            shard.abandon()
            raise
        return shard

    def _shard(self, task: ShardTask, table: pa.Table, output: ShardOutput) -> Shard:
        shard = Shard(task, table, self._options, DatasetSink(output, self._options))
        for index, reason in self._retried.get(task.shard_id, {}).items():
            shard.fail(index, Failure(reason, "tried again by img2ds retry, in another shard"))
            shard.end_row()
        return shard
