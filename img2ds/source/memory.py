"""Rows that a Python caller has in memory: a list of URLs, a table, a data frame, a dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa

from img2ds.core.failure import UsageError
from img2ds.core.sample import RowRange
from img2ds.source.source import check_columns

#: What messages call such an input.
NAME = "the input in memory"


@dataclass(slots=True)
class TableSource:
    """The rows of a table; see `Source`."""

    table: pa.Table
    path: str = NAME
    bytes_read: int = 0

    schema: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.schema = {column.name: str(column.type) for column in self.table.schema}

    @property
    def row_count(self) -> int:
        return int(self.table.num_rows)

    def shards(self, rows: int) -> Iterator[tuple[int, RowRange | pa.Table]]:
        """See `Source.shards`."""
        for start in range(0, self.table.num_rows, rows):
            piece = self.table.slice(start, rows)
            yield piece.num_rows, piece


@dataclass(slots=True)
class IteratorSource:
    """URLs, or rows as mappings, that are drawn as they are needed, once; see `Source`."""

    rows: Iterator[Any]
    columns: Sequence[str]
    path: str = NAME
    bytes_read: int = 0
    schema: dict[str, str] = field(default_factory=dict)

    @property
    def row_count(self) -> None:
        return None

    def shards(self, rows: int) -> Iterator[tuple[int, RowRange | pa.Table]]:
        """See `Source.shards`."""
        while piece := list(islice(self.rows, rows)):
            table = as_table(piece, self.columns)
            yield table.num_rows, table


@dataclass(frozen=True, slots=True)
class MemoryFile:
    """Stands for the file that an input in memory does not have; see `storage.InputFile`."""

    table: pa.Table
    path: str = NAME
    name: str = NAME
    format_name: str = NAME

    @property
    def size(self) -> int:
        """Bytes of the rows."""
        return int(self.table.nbytes)

    def digest(self) -> str:
        """Return a digest of the rows, however they are cut into chunks."""
        digest = hashlib.sha256()
        for column in self.table.columns:
            for start in range(0, len(column), 10_000):
                digest.update(
                    repr(column.slice(start, 10_000).to_pylist()).encode("utf-8", "replace")
                )
        return digest.hexdigest()


def drawn(values: Any) -> Iterator[Any] | None:
    """Return the rows of what gives them one by one, as a stream needs them; else None.

    That is an iterator, or a Hugging Face dataset that is streamed.
    """
    if isinstance(values, Iterator):
        return values
    streamed = hasattr(values, "with_format") and not hasattr(values, "__len__")
    return iter(values) if streamed else None


def as_table(values: Any, columns: Sequence[str]) -> pa.Table:
    """Return the wanted columns of rows in memory.

    Args:
        values: an Arrow table or batch; what offers the Arrow stream interface, as the data frames
            of pandas, Polars and DuckDB do; a Hugging Face dataset; or an iterable of URLs or of
            rows as mappings.
        columns: their names, the URL's first. An iterable of URLs has that one alone.

    Raises:
        UsageError: it is nothing of these, or lacks a column.
    """
    table = _whole_table(values, columns[0])
    if not table.num_rows:
        return pa.table({name: pa.array([], pa.string()) for name in columns})
    check_columns(NAME, table.column_names, columns)
    return table.select(list(columns))


def _whole_table(values: Any, url_column: str) -> pa.Table:
    if isinstance(values, pa.Table):
        return values
    if isinstance(values, pa.RecordBatch):
        return pa.Table.from_batches([values])
    if isinstance(values, Mapping) and hasattr(values, "column_names"):
        first = next(iter(values), "train")
        raise UsageError(
            f"url_list has the splits {', '.join(map(str, values))}: choose one, "
            f"such as data[{first!r}]"
        )
    if hasattr(values, "with_format") and hasattr(values, "column_names"):
        if not hasattr(values, "__len__"):  # it is read as it comes
            return _from_rows(values, url_column)
        return values.with_format("arrow")[:]  # a Hugging Face dataset, rows selected or not
    if hasattr(values, "collect") and hasattr(values, "collect_schema"):
        raise UsageError("url_list is a LazyFrame: pass frame.collect()")
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return pa.table({url_column: values})
    if hasattr(values, "__arrow_c_stream__"):
        return _from_stream(values, url_column)
    if hasattr(values, "columns") and hasattr(values, "to_dict"):  # pandas before 2.2
        return pa.Table.from_pandas(values, preserve_index=False)
    return _from_rows(values, url_column)


def _from_stream(values: Any, url_column: str) -> pa.Table:
    """Read a data frame, or a series of URLs."""
    if hasattr(values, "columns") or not hasattr(values, "to_list"):
        return pa.table(values)
    return pa.table({url_column: pa.chunked_array(values)})


def _from_rows(values: Any, url_column: str) -> pa.Table:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise UsageError(
            f"url_list is of type {type(values).__name__}: give a path, a list of URLs, a table, "
            "a data frame or a dataset"
        )
    rows = list(values)
    if rows and isinstance(rows[0], Mapping):
        names = list(dict.fromkeys(str(name) for row in rows for name in row))
        try:
            return pa.table({name: [row.get(name) for row in rows] for name in names})
        except (pa.ArrowException, AttributeError) as error:
            raise UsageError(f"the rows of url_list do not make a table: {error}") from None
    for place, row in enumerate(rows):
        if row is not None and not isinstance(row, str):
            raise UsageError(f"url_list[{place}] is of type {type(row).__name__}, not a URL")
    return pa.table({url_column: pa.array(rows, pa.string())})
