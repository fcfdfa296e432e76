"""Reads the row ranges of tasks, in a worker.

The ranges of one worker increase within a file. A cursor stays where the last one ended, so that no
row group is decoded twice, however large it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.sample import RowRange, ShardTask
from img2ds.storage.parquet import open_parquet

#: Rows decoded at once.
BATCH_ROWS = 10_000


class RangeReader:
    """A cursor in one parquet file."""

    def __init__(self) -> None:
        self._file: pq.ParquetFile | None = None
        self._key: tuple[str, tuple[str, ...]] | None = None
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._batch: pa.RecordBatch | None = None
        self._row = 0  # row of the file where `_batch` starts
        self._ends: list[int] = []  # row of the file where each row group ends

    def read(self, rows: RowRange, columns: Sequence[str]) -> pa.Table:
        """Return the rows of a range, with exactly the columns named, in that order.

        Raises:
            UsageError: the file does not exist any more.
            OSError, pyarrow.ArrowException: it is damaged.
        """
        key = (rows.path, tuple(columns))
        if key != self._key:
            self._open(key)
        if rows.start < self._row or self._group(rows.start) > self._group(self._row):
            self._seek(rows.start)
        pieces = []
        start = rows.start
        while start < rows.stop:
            batch = self._at(start)
            piece = batch.slice(start - self._row, rows.stop - start)
            pieces.append(piece)
            start += piece.num_rows
        return pa.Table.from_batches(pieces).select(columns)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self._key = self._batch = None

    def _open(self, key: tuple[str, tuple[str, ...]]) -> None:
        self.close()
        self._file = open_parquet(key[0])
        self._key = key
        metadata = self._file.metadata
        end = 0
        self._ends = []
        for index in range(metadata.num_row_groups):
            end += metadata.row_group(index).num_rows
            self._ends.append(end)
        self._seek(0)

    def _group(self, row: int) -> int:
        """Return the row group that `row` is in."""
        return next((i for i, end in enumerate(self._ends) if row < end), len(self._ends))

    def _seek(self, row: int) -> None:
        assert self._file is not None
        assert self._key is not None
        group = self._group(row)
        self._batch = None
        self._row = self._ends[group - 1] if group else 0
        self._batches = self._file.iter_batches(
            BATCH_ROWS,
            row_groups=list(range(group, len(self._ends))),
            columns=list(self._key[1]),
            use_threads=False,
        )

    def _at(self, row: int) -> pa.RecordBatch:
        """Advance the cursor to the batch that holds `row`, and return it."""
        while self._batch is None or row >= self._row + self._batch.num_rows:
            if self._batch is not None:
                self._row += self._batch.num_rows
            try:
                self._batch = next(self._batches)
            except StopIteration:
                self._key = None
                raise OSError(f"the file has no row {row}: it changed during the run") from None
        return self._batch


def read_rows(task: ShardTask, columns: Sequence[str], reader: RangeReader) -> pa.Table:
    """Return the rows of a task as a table of `columns`."""
    if isinstance(task.rows, RowRange):
        return reader.read(task.rows, columns)
    return task.rows
