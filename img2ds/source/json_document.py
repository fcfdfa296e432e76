"""json: an array of objects, concatenated objects, or the object of columns that pandas writes.

All three are streamed. Columns follow each other in the file, so that each is read from a position
of its own, all in step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.source.json_values import Values
from img2ds.source.records import Records, RecordSource
from img2ds.source.source import check_columns
from img2ds.storage import open_stream


def open_json(
    path: str, wanted: Sequence[str], texts: Sequence[str], url_column: str
) -> RecordSource:
    """Return the source of a document; see `RecordSource`."""
    values = Values(open_stream(path))
    if _has_columns(values, url_column):
        values.close()
        if path == "-":
            raise UsageError(
                "standard input is a JSON object of columns, which can only be read from a file: "
                'save it to a file, or write it with pandas\' to_json(orient="records")'
            )
        columns, size = _find_columns(path, wanted)
        return RecordSource(path, wanted, texts, lambda: _Columns(path, columns, size))
    waiting = [values]  # standard input cannot be read again

    def start() -> Records:
        return _Objects(waiting.pop() if waiting else Values(open_stream(path)))

    return RecordSource(path, wanted, texts, start)


def _has_columns(values: Values, url_column: str) -> bool:
    """Return whether a document is an object of columns, as one too long for a row must be."""
    if values.peek() != "{":
        return False
    first = values.first()
    if first is None:
        return True
    inner = [first[url_column]] if url_column in first else list(first.values())
    return bool(inner) and all(isinstance(value, (dict, list)) for value in inner)


class _Objects:
    """The elements of an array, or concatenated values; see `Records`."""

    def __init__(self, values: Values) -> None:
        self._values = values

    @property
    def bytes_read(self) -> int:
        return self._values.bytes_read

    def close(self) -> None:
        self._values.close()

    def __iter__(self) -> Iterator[Any]:
        values = self._values
        if values.take("["):
            if not values.take("]"):
                yield values.value()
                while values.take(","):
                    yield values.value()
                values.expect("]")
            if values.peek():
                raise values.broken("there is data after the end of the array")
        else:
            while values.peek():
                yield values.value()


@dataclass(frozen=True, slots=True)
class _Column:
    """Where a column begins: the position of its `{` (rows have labels) or `[`, in characters."""

    name: str
    position: int
    rows: int


def _find_columns(path: str, wanted: Sequence[str]) -> tuple[list[_Column], int]:
    """Return the wanted columns, and the bytes of the file, which is read to its end.

    Raises:
        UsageError: one is missing, is not a column, or has more rows than another.
    """
    values = Values(open_stream(path))
    names: list[str] = []
    columns: dict[str, _Column] = {}
    values.expect("{")
    while values.peek() not in ("}", ""):
        name = values.value()
        values.expect(":")
        kind = values.peek()
        position = values.position
        rows = sum(1 for _ in _items(values)) if kind in ("{", "[") else -1
        if rows < 0:
            values.value()
        names.append(str(name))
        if name in wanted:
            if rows < 0:
                raise UsageError(
                    f"{path} is one JSON object, whose {name!r} is neither a list nor an object: "
                    "write rows as an array of objects, or as one object a line"
                )
            columns[name] = _Column(name, position, rows)
        if not values.take(","):
            break
    values.expect("}")
    if values.peek():
        raise values.broken("there is data after the end of the object")
    size = values.bytes_read
    values.close()
    check_columns(path, names, wanted)
    found = [columns[name] for name in dict.fromkeys(wanted)]
    for column in found:
        if column.rows != found[0].rows:
            raise UsageError(
                f"{path} has columns of different lengths: {found[0].rows:,} rows of "
                f"{found[0].name!r}, {column.rows:,} of {column.name!r}"
            )
    return found, size


def _items(values: Values) -> Iterator[tuple[str | None, Any]]:
    """Yield the members of an object with their labels, or the elements of an array."""
    labelled = values.take("{")
    if not labelled:
        values.expect("[")
    end = "}" if labelled else "]"
    if values.take(end):
        return
    while True:
        label = None
        if labelled:
            yield from values.plain_members()
            label = values.value()
            values.expect(":")
        yield label, values.value()
        if not values.take(","):
            values.expect(end)
            return


class _Columns:
    """Columns read in step, each from a stream of its own; see `Records`."""

    def __init__(self, path: str, columns: Sequence[_Column], size: int) -> None:
        self._columns = columns
        self._path = path
        self._size = size
        self._streams = [Values(open_stream(path)) for _ in columns]
        self._given = 0

    @property
    def bytes_read(self) -> int:
        return self._size * self._given // max(self._columns[0].rows, 1)

    def close(self) -> None:
        for values in self._streams:
            values.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for values, column in zip(self._streams, self._columns, strict=True):
            values.skip_to(column.position)
        names = [column.name for column in self._columns]
        for row in zip(*map(_items, self._streams), strict=True):
            labels, cells = zip(*row, strict=True)
            # All are the same as a rule, which takes less time to find out.
            if labels.count(labels[0]) != len(labels) and len({*labels} - {None}) > 1:
                raise UsageError(
                    f"{self._path} has its rows in another order in each column ({labels[0]!r}, "
                    f'{labels[1]!r}): write it with pandas\' to_json(orient="records")'
                )
            self._given += 1
            yield dict(zip(names, cells, strict=True))
