"""The protocol of a source, and the check of columns that its implementations share."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from img2ds.config.options import InputOptions
from img2ds.core.failure import UsageError
from img2ds.core.sample import RowRange


class Source(Protocol):
    """The rows of one input file.

    Attributes:
        path: the file, as `storage.open_stream` or `open_seekable` takes it.
        row_count: rows in the file, None where it would have to be read to its end.
        schema: the wanted columns and the names of their types, as far as the file has them.
        bytes_read: bytes of the file, as stored, up to the rows yielded last; an estimate.
    """

    path: str
    schema: dict[str, str]
    bytes_read: int

    @property
    def row_count(self) -> int | None: ...

    def shards(self, rows: int) -> Iterator[tuple[int, RowRange | pa.Table]]:
        """Yield the file in pieces of `rows` rows, fewer in the last one: (row count, rows).

        Tables have exactly the wanted columns. Can be called again, except for standard input.

        Raises:
            UsageError: the file turns out not to be of its format.
            OSError: it cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class InputFormat:
    """How files of one input format are opened.

    Attributes:
        open: returns the source of the file at a path, or raises UsageError.
        compressed: whether a file may be compressed; of no meaning to plug-ins.
        extensions: how the names of its files end besides, without the dot. For a plug-in: which
            files of a folder are read.
    """

    open: Callable[[str, InputOptions], Source]
    compressed: bool = True
    extensions: tuple[str, ...] = ()


def check_columns(path: str, names: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise UsageError where a file lacks a wanted column, or has two of its name.

    The message has the nearest name.
    """
    for column in wanted:
        if names.count(column) > 1:
            raise UsageError(
                f"{path} has {names.count(column)} columns called {column!r}: rename all but one"
            )
        if column not in names:
            near = [name for name in names if name.lower() == column.lower()]
            near = near or difflib.get_close_matches(column, names, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(
                f"{path} has no column {column!r}: {hint}its columns are {', '.join(names)} "
                "(see --url_col, --caption_col, --save_additional_columns, --bbox_col)"
            )
