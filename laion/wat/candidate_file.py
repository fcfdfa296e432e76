"""Write a candidate file: one row group for each partition, in bounded memory.

Rows are held in memory by partition, and spilled to disk when there are many. Within a partition
they keep the order in which they were added.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from laion.data.candidate import CANDIDATE_SCHEMA, Candidate
from laion.data.partition import PARTITION_COUNT, partition_of, partitions_metadata

#: Most rows held in memory, as Python objects of some 700 bytes.
HELD_ROWS = 50_000
#: Columns with few different values in a page or a file.
_REPEATED = ["license", "language", "page_language", "page_url", "wat"]


class CandidateWriter:
    """Use it in a `with`: `add` rows, then `finish`.

    Args:
        path: the file to write.
        spill_path: a file for rows that do not fit into memory; removed at the end.
        held_rows: the most rows held in memory.
    """

    def __init__(self, path: str, spill_path: str, held_rows: int = HELD_ROWS) -> None:
        self._path = path
        self._spill_path = spill_path
        self._limit = held_rows
        self._held = 0
        self._rows: list[list[Candidate]] = [[] for _ in range(PARTITION_COUNT)]
        self._spill: pa.RecordBatchFileWriter | None = None
        # The indices of each partition's batches in the spill file.
        self._batches: list[list[int]] = [[] for _ in range(PARTITION_COUNT)]
        self._written = 0

    def add(self, rows: Iterable[Candidate]) -> None:
        """Add rows.

        Raises:
            OSError: the disk is full.
        """
        held = self._rows
        for row in rows:
            held[partition_of(row[7])].append(row)
            self._held += 1
        if self._held >= self._limit:
            self._spill_rows()

    def _spill_rows(self) -> None:
        if self._spill is None:
            self._spill = pa.ipc.new_file(self._spill_path, CANDIDATE_SCHEMA)
        for partition, rows in enumerate(self._rows):
            if rows:
                self._spill.write_batch(_batch(rows))
                self._batches[partition].append(self._written)
                self._written += 1
                rows.clear()
        self._held = 0

    def finish(self) -> None:
        """Write the file.

        Raises:
            OSError: it cannot be written.
        """
        spilled = None
        if self._spill is not None:
            self._spill.close()
            spilled = pa.ipc.open_file(pa.OSFile(self._spill_path))
        partitions = [p for p in range(PARTITION_COUNT) if self._rows[p] or self._batches[p]]
        note = partitions_metadata(partitions)
        schema = CANDIDATE_SCHEMA.with_metadata(note)
        with pq.ParquetWriter(
            self._path,
            schema,
            compression="zstd",
            use_dictionary=_REPEATED,
            # Readers find a partition by its digests; for texts they would only enlarge the footer.
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
            os.unlink(self._spill_path)


def _batch(rows: list[Candidate]) -> pa.RecordBatch:
    arrays = [
        pa.array(column, field.type)
        for column, field in zip(zip(*rows, strict=True), CANDIDATE_SCHEMA, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=CANDIDATE_SCHEMA)
