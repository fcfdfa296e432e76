"""Writes the list of a retry: the rows to download again, as the input of a run.

Shards are cut per input file: the counts by shard, which the list has, follow the same cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from img2ds.core.state import retry_file, retry_of_file
from img2ds.downloader.retried_rows import REASON_COLUMN
from img2ds.manage.retried import RetryList
from img2ds.storage import OutputFolder, write_state

#: Rows of a row group, at least: some megabytes of URLs and captions.
_GROUP = 50_000


def write_list(
    folder: OutputFolder,
    name: str,
    reasons: Sequence[str],
    tables: Iterable[pa.Table],
    per_shard: int,
) -> RetryList | None:
    """Write the rows of `tables` as the list called `name`; None where there are none.

    What a dead run left under that name is removed first. Raises OSError.
    """
    folder.remove(file for file in folder.names() if retry_of_file(file) == name)
    writer = _Writer(folder, name, per_shard)
    try:
        for table in tables:
            writer.add(table)
        writer.end_file()
    finally:
        writer.close()
    if not writer.shards:
        return None
    found = RetryList(name, tuple(reasons), tuple(writer.shards), tuple(writer.files))
    write_state(folder, retry_file(name), found.document())
    return found


class _Writer:
    """Rows to parquet files; a new one begins where a column changes its type."""

    def __init__(self, folder: OutputFolder, name: str, per_shard: int) -> None:
        self.shards: list[dict[str, int]] = []
        self.files: list[str] = []
        self._folder = folder
        self._name = name
        self._per_shard = per_shard
        self._group = -(-_GROUP // per_shard) * per_shard
        self._file: pq.ParquetWriter | None = None
        self._sink: IO[bytes] | None = None
        self._schema: pa.Schema | None = None
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        if self._schema is not None:
            fitting = _fitted(table, self._schema)
            if fitting is None:
                self.end_file()
            else:
                table = fitting
        if self._schema is None:
            self._schema = table.schema.remove_metadata()
            self.files.append(f"{len(self.files):05d}.parquet")
            path = self._folder.staging_path(self._file_name)
            self._sink = open(path, "wb")  # noqa: SIM115
            self._file = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._waiting.append(table.replace_schema_metadata(None))
        self._rows += table.num_rows
        if self._rows >= self._group:
            self._write(self._rows // self._group * self._group)

    @property
    def _file_name(self) -> str:
        return retry_file(self._name, self.files[-1].removesuffix(".parquet"))

    def _write(self, rows: int) -> None:
        assert self._file is not None
        whole = pa.concat_tables(self._waiting)
        self._waiting = [whole.slice(rows)]
        self._rows -= rows
        ready = whole.slice(0, rows)
        self._file.write_table(ready, row_group_size=self._group)
        for start in range(0, rows, self._per_shard):
            found = ready.column(REASON_COLUMN).slice(start, self._per_shard)
            counts: Counter[str] = Counter()
            for pair in pc.value_counts(found).to_pylist():
                counts[pair["values"]] += pair["counts"]
            self.shards.append(dict(counts.most_common()))

    def end_file(self) -> None:
        """Complete the file that is being written, and publish it."""
        if self._file is None:
            return
        if self._rows:
            self._write(self._rows)
        self.close()
        self._folder.publish(self._file_name)
        self._schema, self._waiting = None, []

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._sink is not None:
            self._sink.close()
            self._sink = None


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table | None:
    """`table` with the types of `schema`; None where a column is of another one, not just empty."""
    arrays = []
    for field in schema:
        column = table.column(field.name)
        if column.type != field.type:
            if not pa.types.is_null(column.type):
                return None
            column = column.cast(field.type)
        arrays.append(column)
    return pa.Table.from_arrays(arrays, schema=schema)
