"""Input formats of plug-ins: what they raise ends the run with one line that names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from img2ds.config.options import InputOptions
from img2ds.core.failure import UsageError
from img2ds.core.sample import RowRange
from img2ds.source.source import InputFormat, Source, check_columns


class BatchSource:
    """A `Source` of rows that are read from first to last: what most input formats need.

    Args:
        columns: the wanted columns: `InputOptions.columns`.
        read: yields the rows of the file from its start, in batches of any size. Called twice.

    Raises:
        UsageError: the file lacks a wanted column.
    """

    row_count = None

    def __init__(
        self,
        path: str,
        columns: Sequence[str],
        read: Callable[[], Iterator[pa.RecordBatch | pa.Table]],
    ) -> None:
        self.path = path
        self.bytes_read = 0
        self.schema: dict[str, str] = {}
        self._columns = list(columns)
        self._read = read
        first = next(read(), None)
        if first is not None:
            names = first.schema.names
            check_columns(path, names, self._columns)
            self.schema = {name: str(first.schema.field(name).type) for name in self._columns}

    def shards(self, rows: int) -> Iterator[tuple[int, RowRange | pa.Table]]:
        """See `Source.shards`."""
        waiting: list[pa.Table] = []
        count = 0
        for batch in self._read():
            table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
            waiting.append(table.select(self._columns))
            count += table.num_rows
            while count >= rows:
                whole = pa.concat_tables(waiting, promote_options="permissive")
                yield rows, whole.slice(0, rows)
                waiting, count = [whole.slice(rows)], count - rows
        if count:
            yield count, pa.concat_tables(waiting, promote_options="permissive")


class PluginSource:
    """The source of a plug-in; see `Source`.

    Raises:
        UsageError: the file is not of this format, or the plug-in raises an error.
    """

    def __init__(self, name: str, made: InputFormat, path: str, options: InputOptions) -> None:
        self._name = name
        self.path = path
        if path == "-":
            raise UsageError(f"--input_format {name} cannot read standard input: name a file")
        try:
            self._inner: Source = made.open(path, options)
        except (UsageError, OSError):
            raise
        except Exception as error:
            raise self._broken(error) from error
        self.schema = self._inner.schema

    @property
    def row_count(self) -> int | None:
        """See `Source`."""
        return self._inner.row_count

    @property
    def bytes_read(self) -> int:
        """See `Source`."""
        return self._inner.bytes_read

    @bytes_read.setter
    def bytes_read(self, value: int) -> None:
        self._inner.bytes_read = value

    def shards(self, rows: int) -> Iterator[tuple[int, Any]]:
        """See `Source.shards`."""
        try:
            yield from self._inner.shards(rows)
        except (UsageError, OSError):
            raise
        except Exception as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> UsageError:
        kind = type(error).__name__
        return UsageError(f"input format {self._name} raised {kind} on {self.path}: {error}")
