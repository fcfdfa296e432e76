"""The first pass of `laion group`: candidates by the hash of their URL.

Each task writes the rows of some input files into one. A row group holds rows of one partition, in
their order, and the schema's metadata lists the partition of each row group.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.engine.shard_output import ShardOutput
from img2ds.storage import open_seekable
from laion.data.candidate import CANDIDATE_SCHEMA
from laion.data.digest import url_words

#: Rows of a partition: some 300 MB in memory.
PARTITION_ROWS = 1_000_000
#: Partitions at most: an input of more than a billion rows has larger ones.
MAX_PARTITIONS = 1024
#: Rows that are put in order together: with 1024 partitions row groups have a thousand.
PIECE_ROWS = 1 << 20
#: Rows that are read at once.
_BATCH = 1 << 16
_PARTITIONS = b"laion.url_partitions"


@dataclass(frozen=True, slots=True)
class ScatterTask:
    """Consecutive input files."""

    shard_id: int
    paths: tuple[str, ...]
    partitions: int


def batches(files: Sequence[tuple[str, int]]) -> list[tuple[str, ...]]:
    """Return paths together that have `PIECE_ROWS` rows, given each file's path and rows.

    The second pass opens what each task of the first one has written.
    """
    found: list[tuple[str, ...]] = []
    held: list[str] = []
    rows = 0
    for path, count in files:
        held.append(path)
        rows += count
        if rows >= PIECE_ROWS:
            found.append(tuple(held))
            held, rows = [], 0
    return [*found, tuple(held)] if held else found


def partition_count(rows: int) -> int:
    """Return how many partitions so many rows are in."""
    return min(max(-(-rows // PARTITION_ROWS), 1), MAX_PARTITIONS)


def make_scattered(task: ScatterTask, shard: ShardOutput) -> None:
    """Write the rows of input files by partition."""
    groups: list[int] = []
    with pq.ParquetWriter(
        shard.path(f"{shard.name}.parquet"), CANDIDATE_SCHEMA, compression="zstd",
        compression_level=1, write_statistics=False,
    ) as writer:  # fmt: skip
        for piece in _pieces(task.paths):
            words = url_words(piece["url"].to_pylist())
            numbers = (words % np.uint64(task.partitions)).astype(np.int64)
            order = np.argsort(numbers, kind="stable")
            piece = piece.take(pa.array(order))
            borders = np.searchsorted(numbers[order], np.arange(task.partitions + 1))
            for number in range(task.partitions):
                start, stop = int(borders[number]), int(borders[number + 1])
                if start < stop:
                    writer.write_table(piece.slice(start, stop - start), stop - start)
                    groups.append(number)
            shard.counts.successes += piece.num_rows
            shard.report_progress()
        writer.add_key_value_metadata({_PARTITIONS: json.dumps(groups).encode()})


def read_scattered(paths: Sequence[str], number: int) -> pa.Table:
    """Return the rows of one partition, in the order of the files.

    Raises:
        OSError, UsageError, ArrowException: a file cannot be read.
    """
    found = [CANDIDATE_SCHEMA.empty_table()]
    for path in paths:
        with pq.ParquetFile(open_seekable(path)) as file:
            listed = json.loads((file.metadata.metadata or {})[_PARTITIONS])
            groups = [place for place, there in enumerate(listed) if there == number]
            if groups:
                table = file.read_row_groups(groups, use_threads=False)
                found.append(table.replace_schema_metadata(None))
    return pa.concat_tables(found)


def _pieces(paths: Sequence[str]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    for path in paths:
        with pq.ParquetFile(open_seekable(path)) as file:
            names = CANDIDATE_SCHEMA.names
            for batch in file.iter_batches(_BATCH, columns=names, use_threads=False):
                held.append(batch.replace_schema_metadata(None))
                if sum(map(len, held)) >= PIECE_ROWS:
                    yield pa.Table.from_batches(held).combine_chunks()
                    held = []
    if held:
        yield pa.Table.from_batches(held).combine_chunks()
