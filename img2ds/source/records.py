"""Sources whose rows are JSON objects: what json and jsonl have in common.

Every object is a row. So is anything in its place, such as a broken line or a number: it fails
because it has no URL, instead of vanishing. URL, caption and hash are text. The types of the
additional columns are inferred from the start of the file; where later values do not fit, the
column widens from that shard on (see `kinds`), to text at last, which loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Protocol

import pyarrow as pa

from img2ds.core.failure import UsageError
from img2ds.source.kinds import Kind, column, widened
from img2ds.source.source import check_columns

#: Rows at the start of a file that the names of its columns are taken from; of standard input, the
#: types as well.
FIRST_ROWS = 10_000
#: Bytes at the start of a file, as stored, that types are inferred from: half a second of reading.
TYPE_BYTES = 32 << 20
#: Rows that types are inferred from at once.
_BATCH = 1000

Cells = tuple[Any, ...]


class Records(Protocol):
    """The values of a file, from its start.

    Iterating raises UsageError when the file is not of its format, OSError when it cannot be read.
    """

    @property
    def bytes_read(self) -> int:
        """Bytes of the file, as stored, up to the value yielded last; an estimate."""
        ...

    def __iter__(self) -> Iterator[Any]: ...

    def close(self) -> None: ...


class RecordSource:
    """See `Source`.

    Args:
        wanted: the columns of its tables.
        texts: those of them that are text whatever they look like.
        start: opens the file; called only once for standard input.

    Raises:
        UsageError: the file has no objects, or they lack the wanted members.
    """

    row_count = None

    def __init__(
        self,
        path: str,
        wanted: Sequence[str],
        texts: Sequence[str],
        start: Callable[[], Records],
    ) -> None:
        self.path = path
        self.schema: dict[str, str] = {}
        self.bytes_read = 0
        self._wanted = list(wanted)
        self._start = start
        self._kinds: dict[str, Kind] | None = None
        self._fixed: dict[str, Kind] = {
            name: "text" if name in texts else "null" for name in wanted
        }
        self._begun: tuple[Records, Iterator[Cells]] | None = None
        records = start()
        objects = iter(records)
        first = self._check(objects)
        if first:
            self.schema = dict.fromkeys(wanted, "json")
        if path == "-":  # it cannot be opened again
            self._begun = records, self._cells(chain(first, objects))
        else:
            records.close()

    def _check(self, objects: Iterator[Any]) -> list[Any]:
        """Return as many first values as it takes to find all wanted columns."""
        first: list[Any] = []
        names: dict[str, None] = {}
        for value in islice(objects, FIRST_ROWS):
            first.append(value)
            if isinstance(value, dict):
                names.update(dict.fromkeys(value))
                if all(name in names for name in self._wanted):
                    return first
        if first and not names:
            raise UsageError(
                f"{self.path} has no JSON object among its first rows: each row is one, such as "
                '{"url": "https://..."} (or see --input_format)'
            )
        if first:
            check_columns(self.path, list(names), self._wanted)
        return first

    def _cells(self, objects: Iterator[Any]) -> Iterator[Cells]:
        nothing = (None,) * len(self._wanted)
        for value in objects:
            yield (
                tuple([value.get(name) for name in self._wanted])
                if isinstance(value, dict)
                else nothing
            )

    def shards(self, rows: int) -> Iterator[tuple[int, pa.Table]]:
        if self._begun is not None:
            (records, cells), self._begun = self._begun, None
            first: list[Cells] = []
            if "null" in self._fixed.values():
                first = list(islice(cells, FIRST_ROWS))
            kinds = self._widened(self._fixed, first)
            cells = chain(first, cells)
        else:
            kinds = dict(self._inferred())
            records = self._start()
            cells = self._cells(iter(records))
            first = []
        given = 0
        while piece := list(islice(cells, rows)):
            table = {}
            for name, values in zip(self._wanted, zip(*piece, strict=True), strict=True):
                table[name], kinds[name] = column(values, kinds[name])
            given += len(piece)
            self.bytes_read = records.bytes_read * given // max(given, len(first))
            yield len(piece), pa.table(table)
        records.close()

    def _inferred(self) -> dict[str, Kind]:
        """Infer the kinds of the columns from the start of the file."""
        if self._kinds is None:
            kinds = self._fixed
            if "null" in kinds.values():
                records = self._start()
                cells = self._cells(iter(records))
                while records.bytes_read < TYPE_BYTES and (batch := list(islice(cells, _BATCH))):
                    kinds = self._widened(kinds, batch)
                records.close()
            self._kinds = kinds
        return self._kinds

    def _widened(self, kinds: dict[str, Kind], cells: list[Cells]) -> dict[str, Kind]:
        columns = zip(self._wanted, zip(*cells, strict=True), strict=True) if cells else ()
        found = dict(kinds)
        for name, values in columns:
            if self._fixed[name] == "null":
                found[name] = widened(kinds[name], values)
        return found
