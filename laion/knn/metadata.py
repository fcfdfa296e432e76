"""Metadata rows by number, from memory-mapped Arrow files: they take disk, not memory.

One uncompressed file a shard, in batches; only the batches looked up are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.storage import InputFile, open_seekable
from laion.knn.ann_index import Ids
from laion.knn.mapped_file import MappedFile
from laion.knn.metadata_schema import (
    SCHEMA,
    SHOWN,
    source_columns,
    stored_columns,
    to_schema,
)

#: Rows in a batch: a shard has few batches, and one batch fits in memory while it is written.
BATCH_ROWS = 65_536

#: Batches whose buffers are cached; a few kB each.
_CACHED_BATCHES = 4096


def write_rows(file: InputFile, path: str, keep: npt.NDArray[np.bool_]) -> dict[str, int]:
    """Write the rows of a parquet file where `keep` is True as an Arrow file at `path`.

    Returns:
        How many of the kept rows have an NSFW tag, as `tagged`, and a size, as `sized`.

    Raises:
        UsageError: there is no column that tells which row is which.
        OSError, pa.ArrowException: the file cannot be read.
    """
    counts = {"tagged": 0, "sized": 0}
    start = 0
    with pq.ParquetFile(open_seekable(file.path)) as reader:
        sources = source_columns(reader.schema_arrow.names)
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            columns = sorted(set(sources.values()))
            for batch in reader.iter_batches(BATCH_ROWS, columns=columns):
                mask = keep[start : start + batch.num_rows]
                start += batch.num_rows
                if not mask.all():
                    batch = batch.filter(pa.array(mask))
                shown = to_schema(batch, sources)
                counts["tagged"] += shown.num_rows - shown.column("NSFW").null_count
                counts["sized"] += shown.num_rows - shown.column("width").null_count
                writer.write_batch(shown)
    return counts


class Metadata:
    """Rows `0 .. len - 1` of the Arrow files at `paths`, in their order.

    Raises:
        OSError, pa.ArrowException: a file is missing or damaged.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._readers: list[Any] = []
        #: The first row of each batch, with its reader and its number in that file.
        self._starts: list[int] = []
        self._places: list[tuple[int, int]] = []
        rows = 0
        for number, path in enumerate(paths):
            reader = pa.ipc.open_file(pa.py_buffer(MappedFile(path).bytes()))
            self._readers.append(reader)
            for place in range(reader.num_record_batches):
                count = reader.get_batch(place).num_rows
                if count:
                    self._starts.append(rows)
                    self._places.append((number, place))
                    rows += count
        self._rows = rows
        # Cached per object, which lru_cache on a method would not be.
        self._batch = lru_cache(_CACHED_BATCHES)(self._open_batch)

    def __len__(self) -> int:
        return self._rows

    def _open_batch(self, number: int) -> pa.RecordBatch:
        reader, place = self._places[number]
        return self._readers[reader].get_batch(place)

    def _batches(self, ids: Ids) -> Iterator[tuple[npt.NDArray[np.intp], pa.RecordBatch, Ids]]:
        """For each batch with some of `ids`: their positions in `ids`, it, their rows in it."""
        numbers = np.searchsorted(np.asarray(self._starts), ids, side="right") - 1
        for number in np.unique(numbers):
            where = np.flatnonzero(numbers == number)
            yield where, self._batch(int(number)), ids[where] - self._starts[number]

    def column(self, ids: Ids, name: str) -> npt.NDArray[Any]:
        """Return a filter column of the rows `ids`, which must exist."""
        values = np.empty(len(ids), SCHEMA.field(name).type.to_pandas_dtype())
        for where, batch, places in self._batches(ids):
            values[where] = batch.column(name).to_numpy(zero_copy_only=True)[places]
        return values

    def rows(self, ids: Sequence[int] | Ids, names: Sequence[str] = SHOWN) -> list[dict[str, Any]]:
        """Return columns of the rows `ids`, in their order. Raises IndexError."""
        wanted = np.asarray(ids, np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < self._rows:
            raise IndexError(f"rows are numbered 0 to {self._rows - 1}")
        found: list[dict[str, Any]] = [{}] * len(wanted)
        for where, batch, places in self._batches(wanted):
            stored = stored_columns(batch.schema.names)
            known = [name for name in names if name in stored]
            absent = dict.fromkeys(name for name in names if name not in stored)
            taken = batch.select([stored[name] for name in known]).take(pa.array(places))
            # Column by column, which takes a fifth of the time of the batch's own `to_pylist`.
            columns = [column.to_pylist() for column in taken.columns]
            if "image_path" in known:
                place = known.index("image_path")
                columns[place] = [path or None for path in columns[place]]
            for row, values in zip(where.tolist(), zip(*columns, strict=True), strict=True):
                found[row] = {**absent, **dict(zip(known, values, strict=True))}
        return found

    def row(self, row_id: int) -> dict[str, Any]:
        """Return the shown columns of one row. Raises IndexError."""
        return self.rows([row_id])[0]
