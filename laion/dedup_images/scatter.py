"""Sends the rows of a batch of shards to their buckets: the first pass of `laion dedup_images`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from img2ds.engine.shard_output import ShardOutput
from laion.data.embedding_folder import SIMILARITY, EmbeddingShard
from laion.dedup_images.comparison import Comparison
from laion.dedup_images.one_thread import one_thread
from laion.dedup_images.scattered import BATCH_SHIFT, RunWriter, record_type

#: Columns with an image's size: pairs of width and height, the first that is there counts.
SIZES = (("original_width", "original_height"), ("WIDTH", "HEIGHT"), ("width", "height"))
#: Rows that are sent at once.
_BLOCK = 4096

#: Values of --keep.
BY_SIMILARITY, BY_SIZE = "similarity", "largest"
#: In the place of a value of --keep, for evaluation images: they are preferred to all rows.
FIRST = "first"


@dataclass(frozen=True, slots=True)
class ScatterTask:
    """Consecutive shards, batch `shard_id` of them.

    Attributes:
        keep: which row of several duplicates is kept, a value of --keep.
        key_bytes: bytes of a key.
    """

    shard_id: int
    shards: tuple[EmbeddingShard, ...]
    comparison: Comparison
    keep: str
    key_bytes: int


def scatter(task: ScatterTask, shard: ShardOutput) -> None:
    """Send the rows of a batch."""
    writer = RunWriter(shard, task.comparison.buckets)
    first, rows = 0, []
    with one_thread():
        for source in task.shards:
            table = source.table(_columns(source, task))
            for start, kept in _send(task, source, table, writer, first):
                shard.counts.successes += kept
                shard.counts.drop("not_compared", min(_BLOCK, table.num_rows - start) - kept)
                shard.report_progress()
            rows.append(table.num_rows)
            first += table.num_rows
    writer.close()
    np.save(shard.path(f"{shard.name}.shards.npy"), np.array(rows, np.int64))


def _send(
    task: ScatterTask, source: EmbeddingShard, table: pa.Table, writer: RunWriter, first: int
) -> Iterator[tuple[int, int]]:
    """Send the rows of a shard, and yield the start of each block and how many have a bucket."""
    signatures = task.comparison.signatures(source, table)
    ranks, keys = ranks_of(table, task.keep), _keys(table, task.key_bytes)
    batch = np.uint64(task.shard_id) << BATCH_SHIFT
    for start in range(0, table.num_rows, _BLOCK):
        block = np.asarray(signatures[start : start + _BLOCK])
        rows, buckets = task.comparison.place(block)
        records = np.empty(len(rows), record_type(task.key_bytes))
        records["bucket"] = buckets
        records["place"] = batch | (rows + (first + start)).astype(np.uint64)
        records["rank"] = ranks[start + rows]
        records["key"] = keys[start + rows]
        writer.add(records, block[rows])
        yield start, len(np.unique(rows))


def ranks_of(table: pa.Table, keep: str) -> npt.NDArray[np.float64]:
    """Return a number for each row: that of the better one of two is lower; unknown is highest."""
    if keep == FIRST:
        return np.full(table.num_rows, -np.inf)
    if keep == BY_SIMILARITY:
        values = _numbers(table, SIMILARITY)
    else:
        width, height = size_columns(table.schema)
        values = _numbers(table, width) * _numbers(table, height)
    return np.where(np.isnan(values), np.inf, -values)


def size_columns(schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns of the original size, or none."""
    return next((pair for pair in SIZES if set(pair) <= set(schema.names)), ())


def _columns(source: EmbeddingShard, task: ScatterTask) -> list[str]:
    wanted = ["key"] if "key" in source.schema().names else []
    if task.keep == FIRST:
        return wanted or source.schema().names[:1]  # for the number of rows
    if task.keep == BY_SIMILARITY:
        return [*wanted, SIMILARITY]
    return [*wanted, *size_columns(source.schema())]


def _numbers(table: pa.Table, column: str) -> npt.NDArray[np.float64]:
    values = pc.fill_null(pc.cast(table[column], pa.float64()), float("nan"))
    return np.asarray(values.to_numpy())


def _keys(table: pa.Table, key_bytes: int) -> npt.NDArray[np.bytes_]:
    """Return the keys of rows; those that are longer are empty, as all are without a column."""
    if "key" not in table.column_names:
        return np.zeros(table.num_rows, f"S{key_bytes}")
    column = pc.cast(table["key"], pa.binary())
    short = pc.if_else(pc.less_equal(pc.binary_length(column), key_bytes), column, b"")
    return np.array(pc.fill_null(short, b"").to_pylist(), f"S{key_bytes}")
