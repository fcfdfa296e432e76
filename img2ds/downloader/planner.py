"""Cuts an input into numbered shards.

Shards are cut per input file, files in sorted order, as img2dataset does, so that keys agree.
Where the files tell their rows (parquet) the whole plan is known before a row is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from img2ds.config.options import InputOptions
from img2ds.core.failure import UsageError
from img2ds.core.rank import ALONE, Rank
from img2ds.core.sample import RowRange, ShardTask
from img2ds.engine.fingerprint import FileFingerprint, fingerprint
from img2ds.source.memory import IteratorSource, MemoryFile, TableSource, as_table
from img2ds.source.source import Source
from img2ds.source.table import file_extensions, guess_format, open_source
from img2ds.storage import InputFile, find_inputs, stdin_start

#: Files whose footers or headers are read at once: it is waiting, not work, where they are remote.
PARALLEL_FILES = 16


@dataclass(frozen=True, slots=True)
class Input:
    """The files of an input, looked at and found readable, in order."""

    files: Sequence[InputFile | MemoryFile]
    sources: list[Source]
    input_format: str
    max_rows: int | None

    @property
    def row_count(self) -> int | None:
        """Rows of the input that the run is about; None where only reading it can tell."""
        total = 0
        for source in self.sources:
            if source.row_count is None:
                return None
            total += source.row_count
        return total if self.max_rows is None else min(total, self.max_rows)

    @property
    def is_stdin(self) -> bool:
        """Whether it is standard input, which is read once and not looked at before."""
        return bool(self.files) and self.files[0].path == "-"

    @property
    def size(self) -> int | None:
        """Bytes of all files, None if unknown."""
        return sum(file.size or 0 for file in self.files) or None

    @property
    def bytes_read(self) -> int:
        """Bytes of the files that reading has come past; of no meaning for parquet."""
        return sum(source.bytes_read for source in self.sources)

    def check_rows(self) -> None:
        """Check that there is a row that can be read, before any folder is emptied.

        Standard input can be read only once: of it, check only that it is not empty.

        Raises:
            UsageError: it is empty, or not of its format.
        """
        if self.is_stdin:
            # csv has read its header by now, and its schema is empty when there was none.
            if not self.sources[0].schema or (self.input_format == "txt" and stdin_start() == b""):
                raise UsageError("standard input is empty: nothing to download")
            return
        try:
            found = any(True for _ in self.shards(1))
        except OSError as error:
            raise UsageError(f"cannot read the input: {error}") from None
        if not found:
            raise UsageError(f"{self.files[0].path} has no rows: nothing to download")
        for source in self.sources:
            source.bytes_read = 0

    def fingerprint(self) -> dict[str, Any]:
        """Return what tells this input from another: names, sizes, ends, rows and schemas.

        Raises:
            UsageError: a file cannot be read any more.
        """
        with ThreadPoolExecutor(PARALLEL_FILES) as pool:
            try:
                digests = list(pool.map(_digest, self.files))
            except OSError as error:
                raise UsageError(f"cannot read the input: {error}") from None
        return fingerprint(
            self.input_format,
            [
                FileFingerprint(file.name, file.size, digest, source.row_count, source.schema)
                for file, digest, source in zip(self.files, digests, self.sources, strict=True)
            ],
            self.max_rows,
        )

    def shards(self, rows: int, first: int = 0) -> Iterator[ShardTask]:
        """Yield all shards of `rows` rows, numbered from `first`. Raises as `Source.shards`."""
        number = first
        left = self.max_rows
        for source in self.sources:
            for count, piece in source.shards(rows):
                if left is not None:
                    if left == 0:
                        return
                    count = min(count, left)
                    left -= count
                yield ShardTask(number, count, _head(piece, count))
                number += 1

    def shard_count(self, rows: int) -> int | None:
        """Return how many shards of `rows` rows there are; None where only reading can tell."""
        known = self.known_count(rows)
        return None if known is None else known[1]

    def known_count(self, rows: int) -> tuple[int, int] | None:
        """Return its rows, and its shards of `rows` rows; None where only reading can tell."""
        return None if self.row_count is None else self.count(rows)

    def count(self, rows: int) -> tuple[int, int]:
        """Return its rows, and its shards of `rows` rows. Reads the lists that do not tell.

        Raises:
            UsageError: a list cannot be read to its end.
        """
        count = shards = 0
        try:
            for task in self.shards(rows):
                count, shards = count + task.count, shards + 1
        except OSError as error:
            raise UsageError(f"cannot read the input: {error}") from None
        return count, shards


def _digest(file: InputFile | MemoryFile) -> str | None:
    return None if file.path == "-" else file.digest()


def _head(piece: RowRange | pa.Table, count: int) -> RowRange | pa.Table:
    if isinstance(piece, RowRange):
        return RowRange(piece.path, piece.start, piece.start + count)
    return piece.slice(0, count)


def open_input(options: InputOptions, files: Sequence[InputFile] = ()) -> Input:
    """Find and look at every file of the input.

    Args:
        files: its files, if they are known.

    Raises:
        UsageError: there is none, one cannot be read, or lacks a column.
    """
    extensions = file_extensions(options.input_format)
    files = list(files) or find_inputs(options.url_list, extensions)
    kind = options.plain_format or guess_format([file.format_name for file in files])
    with ThreadPoolExecutor(PARALLEL_FILES) as pool:
        sources = list(pool.map(lambda file: open_source(file.path, kind, options), files))
    return Input(files, sources, kind, options.max_rows)


def open_memory(values: Any, options: InputOptions) -> Input:
    """Return an input of rows in memory; `source.memory.as_table` says which these can be.

    Raises:
        UsageError: it is nothing of these, lacks a column, or has no rows.
    """
    table = as_table(values, options.columns)
    return Input([MemoryFile(table)], [TableSource(table)], "table", options.max_rows)


def open_iterator(rows: Iterator[Any], options: InputOptions) -> Input:
    """Return an input of URLs or mappings that are drawn as they are needed, once."""
    return Input([], [IteratorSource(rows, options.columns)], "table", options.max_rows)


class Plan:
    """The shards of an input that are still to be made.

    Attributes:
        shard_count: shards of the whole input; None until a streamed one has been read to its end.

    Args:
        first_shard: the number of the input's first shard.
        committed: the shards to leave out.
        rank: whose shards they are; those of other ranks are left out.
        compare: called with the first and the last task that is left out, where rows show only
            now what they are; raises UsageError when these are others.
    """

    def __init__(
        self,
        source: Input,
        rows_per_shard: int,
        first_shard: int,
        committed: Collection[int],
        rank: Rank = ALONE,
        compare: Callable[[ShardTask], None] | None = None,
    ) -> None:
        self._compare = compare
        self._compared = {min(committed), max(committed)} if committed else set()
        self.shard_count = source.shard_count(rows_per_shard)
        self._source = source
        self._rows_per_shard = rows_per_shard
        self._first_shard = first_shard
        self._committed = committed
        self._rank = rank
        self._rows_seen = 0
        self._rows_given = 0
        self._rows_left: int | None = None
        if source.row_count is not None:
            shards = source.shards(rows_per_shard, first_shard)
            self._rows_left = sum(t.count for t in shards if self._is_due(t.shard_id))

    @property
    def own_shards(self) -> int | None:
        """The shards of the input that are this rank's; None while that is not known."""
        if self.shard_count is None:
            return None
        numbers = range(self._first_shard, self._first_shard + self.shard_count)
        return self._rank.share(numbers)

    def _is_due(self, shard: int) -> bool:
        return self._rank.owns(shard) and shard not in self._committed

    def expected_rows(self) -> int | None:
        """Return the rows to download; an estimate while a stream is read, None before that."""
        if self._rows_left is not None:
            return self._rows_left
        size, read = self._source.size, self._source.bytes_read
        if not size or not read:
            return None
        if self._source.max_rows is not None:
            left = self._source.max_rows - self._rows_seen
        else:
            left = round(max(size - read, 0) * self._rows_seen / read)
        return self._rows_given + left // self._rank.world_size

    def tasks(self) -> Iterator[ShardTask]:
        """Yield the shards of this rank that are not committed, in order."""
        number = self._first_shard
        for task in self._source.shards(self._rows_per_shard, self._first_shard):
            number = task.shard_id + 1
            self._rows_seen += task.count
            if self._is_due(task.shard_id):
                self._rows_given += task.count
                yield task
            elif self._compare is not None and task.shard_id in self._compared:
                self._compare(task)
        self.shard_count = number - self._first_shard
        self._rows_left = self._rows_given
