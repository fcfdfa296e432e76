"""Commits downloaded shards to a dataset: data files, `NNNNN.parquet`, then the commit marker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from img2ds.config.options import Options
from img2ds.core.sample import Sample
from img2ds.engine.shard_output import ShardOutput
from img2ds.formats.metadata_table import write_metadata
from img2ds.formats.table import open_writer
from img2ds.report.shard_report import ShardReport
from img2ds.report.tally import Tally


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

    def fail(self, error: OSError, notes: list[str]) -> ShardReport[Any]:
        """See `ShardSink.fail`."""
        self._output.notes = notes
        self._writer.abort()
        return self._output.cannot_write(error)
