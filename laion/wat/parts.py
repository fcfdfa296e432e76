"""Writes one candidate file: rows grouped by partition, a row group each, in bounded memory.

Rows wait in memory by partition; when there are many they are set aside on the disk, and in the
end each partition's are put together in the order in which they came.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from laion.data.candidate import CANDIDATE_SCHEMA, Candidate
from laion.data.partition import PARTITION_COUNT, partition_of, partitions_metadata

#: Rows held as Python objects, at some 700 bytes each.
HELD_ROWS = 50_000
#: Columns with few values a page or a file.
_REPEATED = ["license", "language", "page_language", "page_url", "wat"]


class CandidateWriter:
    """Use it in a `with`: `add` rows, then `finish`.

    Args:
        path: the file to write.
        aside: a file for rows that do not fit into memory; removed at the end.
    """

    def __init__(self, path: str, staging_path: str, held_rows: int = HELD_ROWS) -> None:
        self._path = path
        self._staging_path = staging_path
        self._limit = held_rows
        self._held = 0
        self._rows: list[list[Candidate]] = [[] for _ in range(PARTITION_COUNT)]
        self._spill: pa.RecordBatchFileWriter | None = None
        # For each partition the numbers of its batches in the file aside.
        self._batches: list[list[int]] = [[] for _ in range(PARTITION_COUNT)]
        self._written = 0

    def add(self, rows: Iterable[Candidate]) -> None:
        """Take more rows. Raises OSError when the disk is full."""
        held = self._rows
        for row in rows:
            held[partition_of(row[7])].append(row)
            self._held += 1
        if self._held >= self._limit:
            self._set_aside()

    def _set_aside(self) -> None:
        if self._spill is None:
            self._spill = pa.ipc.new_file(self._staging_path, CANDIDATE_SCHEMA)
        for partition, rows in enumerate(self._rows):
            if rows:
                self._spill.write_batch(_batch(rows))
                self._batches[partition].append(self._written)
                self._written += 1
                rows.clear()
        self._held = 0

    def finish(self) -> None:
        """Write the file. Raises OSError."""
        spilled = None
        if self._spill is not None:
            self._spill.close()
            spilled = pa.ipc.open_file(pa.OSFile(self._staging_path))
        partitions = [p for p in range(PARTITION_COUNT) if self._rows[p] or self._batches[p]]
        note = partitions_metadata(partitions)
        schema = CANDIDATE_SCHEMA.with_metadata(note)
        with pq.ParquetWriter(
            self._path,
            schema,
            compression="zstd",
            use_dictionary=_REPEATED,
            # Of a digest they tell the partition; of texts they would only make the footer large.
            write_statistics=["digest"],
        ) as writer:
            for partition in partitions:
                batches = []
                if spilled is not None:
                    batches = [spilled.get_batch(n) for n in self._batches[partition]]
                if self._rows[partition]:
                    batches.append(_batch(self._rows[partition]))
                table = pa.Table.from_batches(batches).replace_schema_metadata(note)
                writer.write_table(table, row_group_size=max(1, table.num_rows))

    def __enter__(self) -> CandidateWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._spill is not None:
            self._spill.close()
            os.unlink(self._staging_path)


def _batch(rows: list[Candidate]) -> pa.RecordBatch:
    arrays = [
        pa.array(column, field.type)
        for column, field in zip(zip(*rows, strict=True), CANDIDATE_SCHEMA, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=CANDIDATE_SCHEMA)
