"""Commits downloaded shards to a dataset: data files, `NNNNN.parquet`, then the commit marker.

Shards that are not complete can be saved as partial ones, see `engine.partial`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa

from img2ds.config.options import Options
from img2ds.core.sample import RowRange, Sample, ShardTask
from img2ds.engine.shard_output import ShardOutput
from img2ds.formats.metadata_table import write_metadata
from img2ds.formats.table import open_writer
from img2ds.report.shard_report import ShardReport
from img2ds.report.tally import Tally


def rows_name(shard: str) -> str:
    """Return the name of the metadata table of the partial shard called `shard`."""
    return f"{shard}_rows.parquet"


class DatasetSink:
    """Writes one shard in the output format.

    Raises:
        OSError: its file cannot be made.
    """

    def __init__(self, output: ShardOutput, options: Options) -> None:
        self._output = output
        self._writer = open_writer(output.name, options.output, options.image, output.stage)

    def add(self, sample: Sample) -> None:
        """See `ShardSink.add`."""
        self._writer.add(sample)

    def commit(
        self, tally: Tally, notes: list[str], metadata: Callable[[], pa.Table]
    ) -> ShardReport[Any]:
        """See `ShardSink.commit`."""
        output = self._output
        output.counts, output.notes = tally, notes
        try:
            table = metadata()
            output.add(self._writer.finish(table))
            if self._writer.has_metadata_file:
                name = f"{output.name}.parquet"
                output.add([write_metadata(name, output.stage(name), table)])
        except OSError as error:
            return self.fail(error, notes)
        return output.commit()

    def save_partial(
        self, task: ShardTask, tally: Tally, notes: list[str], metadata: Callable[[], pa.Table]
    ) -> ShardReport[Any]:
        """See `PartialSink.save_partial`."""
        if not tally.count:  # there is nothing to save
            self._writer.abort()
            self._output.abort()
            return ShardReport(task.shard_id, tally, 0.0, notes=tuple(notes), later=task)
        name = self._output.name
        try:
            partial = self._output.partial_output()
            partial.counts, partial.notes = tally, notes
            rows = metadata()
            partial.add(self._writer.finish(rows))
            partial.add([write_metadata(rows_name(name), partial.stage(rows_name(name)), rows)])
            if isinstance(task.rows, pa.Table):
                # The parent need not hold the rows of all partial shards.
                file = f"{name}_input.parquet"
                partial.add([write_metadata(file, partial.stage(file), task.rows)])
                task = replace(task, rows=RowRange(partial.location(file), 0, task.count))
        except OSError as error:
            return self.fail(error, notes)
        report = partial.commit()
        if report.error is not None:
            return report
        if self._output.partial_place is not None:
            with contextlib.suppress(OSError):  # the newer one counts
                self._output.remove_partial((self._output.partial_place,))
        return replace(report, later=task)

    def fail(self, error: OSError, notes: list[str]) -> ShardReport[Any]:
        """See `ShardSink.fail`."""
        self._output.notes = notes
        self._writer.abort()
        return self._output.cannot_write(error)
