"""Rows by number from memory-mapped Arrow files: captions of any number of rows cost no memory.

One file a part, uncompressed, in batches; what is not looked at is never read.
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
from laion.knn.rows import SCHEMA, SHOWN, shown_rows, source_columns

#: Rows in a batch: enough that a part has few of them, and few enough to be held while written.
BATCH_ROWS = 65_536

#: Batches whose places in their files are remembered; a few kB each.
_REMEMBERED = 4096

Ids = npt.NDArray[np.int64]


def write_rows(file: InputFile, path: str, keep: npt.NDArray[np.bool_]) -> dict[str, int]:
    """The rows of the parquet file for which `keep` holds, as an Arrow file at `path`.

    Returns:
        How many of the rows kept have an NSFW tag, as `tagged`, and a size, as `sized`.

    Raises:
        UsageError: there is no column of URLs.
        OSError, pa.ArrowException: it cannot be read.
    """
    counts = {"tagged": 0, "sized": 0}
    start = 0
    with pq.ParquetFile(open_seekable(file.path)) as reader:
        sources = source_columns(reader.schema_arrow.names)
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            columns = sorted(set(sources.values()))
            for batch in reader.iter_batches(BATCH_ROWS, columns=columns):
                here = keep[start : start + batch.num_rows]
                start += batch.num_rows
                if not here.all():
                    batch = batch.filter(pa.array(here))
                shown = shown_rows(batch, sources)
                counts["tagged"] += shown.num_rows - shown.column("nsfw").null_count
                counts["sized"] += shown.num_rows - shown.column("width").null_count
                writer.write_batch(shown)
    return counts


class Metadata:
    """Rows `0 .. len - 1` over the Arrow files at `paths`, in their order.

    Raises:
        OSError, pa.ArrowException: a file is missing or damaged.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._readers: list[Any] = []
        #: The first row of each batch, and where that batch is.
        self._starts: list[int] = []
        self._places: list[tuple[int, int]] = []
        rows = 0
        for number, path in enumerate(paths):
            reader = pa.ipc.open_file(pa.memory_map(path))
            self._readers.append(reader)
            for place in range(reader.num_record_batches):
                count = reader.get_batch(place).num_rows
                if count:
                    self._starts.append(rows)
                    self._places.append((number, place))
                    rows += count
        self._rows = rows
        # Cached per object, which lru_cache on a method would not be.
        self._batch = lru_cache(_REMEMBERED)(self._open_batch)

    def __len__(self) -> int:
        return self._rows

    def _open_batch(self, number: int) -> pa.RecordBatch:
        reader, place = self._places[number]
        return self._readers[reader].get_batch(place)

    def _batches(self, ids: Ids) -> Iterator[tuple[npt.NDArray[np.intp], pa.RecordBatch, Ids]]:
        """For each batch that holds some of `ids`: their places in it, and those in `ids`."""
        numbers = np.searchsorted(np.asarray(self._starts), ids, side="right") - 1
        for number in np.unique(numbers):
            where = np.flatnonzero(numbers == number)
            yield where, self._batch(int(number)), ids[where] - self._starts[number]

    def numbers(self, ids: Ids, column: str) -> npt.NDArray[Any]:
        """A fixed-width column without nulls of the rows `ids`, which must exist."""
        found = np.empty(len(ids), SCHEMA.field(column).type.to_pandas_dtype())
        for where, batch, places in self._batches(ids):
            found[where] = batch.column(column).to_numpy(zero_copy_only=True)[places]
        return found

    def rows(self, ids: Sequence[int] | Ids) -> list[dict[str, Any]]:
        """What is shown of the rows `ids`, in their order. Raises IndexError for one too many."""
        wanted = np.asarray(ids, np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < self._rows:
            raise IndexError(f"rows are numbered from 0 to {self._rows - 1}")
        found: list[dict[str, Any]] = [{}] * len(wanted)
        for where, batch, places in self._batches(wanted):
            table = batch.select(SHOWN).take(pa.array(places)).to_pylist()
            for place, row in zip(where, table, strict=True):
                found[place] = row
        return found

    def row(self, row_id: int) -> dict[str, Any]:
        """What is shown of one row. Raises IndexError."""
        return self.rows([row_id])[0]
