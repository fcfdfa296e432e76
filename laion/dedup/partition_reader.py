"""Reads the rows of one partition from candidate files, in order.

A file has some 250 kB of each partition. Of remote files the footers of many are requested at once,
then what they say of the partition, while the files before are worked on.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from img2ds.storage import InputFile, Range, open_seekable, read_ranges
from laion.data.partition import row_group_partitions

#: Columns with few values.
REPEATED = ("license", "language", "page_language", "wat")
#: Remote files whose footers are requested at once: 16 MB of row groups.
TOGETHER = 64
#: Bytes at the end of a file that hold its footer; larger ones are read again.
FOOTER = 128 << 10


def read_partition(
    files: Sequence[InputFile], partition: int, columns: Sequence[str], rows: int
) -> Iterator[pa.Table]:
    """Yield the rows of one partition in order, at least `rows` at once except at the end.

    Columns of `REPEATED` are dictionaries, which are many times faster to copy than texts.

    Raises:
        UsageError, OSError, pyarrow.ArrowException: a file is gone or damaged.
    """
    held: list[pa.Table] = []
    count = 0
    wanted = partial(_rows_of, partition=partition, columns=columns, rows=rows)
    for file in opened(files, wanted, REPEATED):
        with closing(file):
            # Groups are read together: a call costs as much as some hundred rows.
            groups: list[int] = []
            for group in file.groups(partition):
                groups.append(group)
                count += file.parquet.metadata.row_group(group).num_rows
                if count >= rows:
                    yield pa.concat_tables([*held, file.read(groups, columns)])
                    held, groups, count = [], [], 0
            if groups:
                held.append(file.read(groups, columns))
    if count:
        yield pa.concat_tables(held)


class CandidateSource:
    """An open candidate file.

    Args:
        source: what pyarrow reads; it is closed with the file.
        dictionaries: columns that are read as such.
    """

    def __init__(
        self,
        path: str,
        source: str | IO[bytes] | HeldRanges,
        dictionaries: Sequence[str] = (),
    ) -> None:
        self.path = path
        self._source = source
        try:
            self.parquet = pq.ParquetFile(source, read_dictionary=list(dictionaries))
        except pa.ArrowException as error:
            self._close_source()
            raise UsageError(f"cannot read {path}: {error}") from None

    def groups(self, partition: int) -> list[int]:
        """Return the row groups of a partition. Raises UsageError."""
        return [group for group, number in enumerate(self.partitions()) if number == partition]

    def partitions(self) -> list[int]:
        """Return the partition of each row group. Raises UsageError."""
        try:
            return row_group_partitions(self.parquet)
        except ValueError:
            raise UsageError(
                f"{self.path} does not record the partitions of its row groups: run this version "
                "of laion extract again"
            ) from None

    def read(self, groups: list[int], columns: Sequence[str]) -> pa.Table:
        """Return the rows of row groups."""
        table = self.parquet.read_row_groups(groups, columns=list(columns), use_threads=False)
        return table.replace_schema_metadata(None)

    def close(self) -> None:
        self.parquet.close()
        self._close_source()

    def _close_source(self) -> None:
        if not isinstance(self._source, str):
            self._source.close()


#: Where bytes of a file begin and end.
Place = tuple[int, int]
Wanted = Callable[[CandidateSource], list[Place]]


def opened(
    files: Sequence[InputFile], wanted: Wanted, dictionaries: Sequence[str] = ()
) -> Iterator[CandidateSource]:
    """Yield the files, open, in order.

    Args:
        wanted: what of a remote file will be read first.

    Raises:
        UsageError, OSError: a file is gone or damaged.
    """
    services = {file.path.partition("://")[0] for file in files}
    known = all(file.size is not None for file in files)
    if len(services) != 1 or not known or not files[0].is_remote:
        for file in files:
            yield CandidateSource(file.path, open_seekable(file.path), dictionaries)
        return
    pieces = [files[start : start + TOGETHER] for start in range(0, len(files), TOGETHER)]
    with ThreadPoolExecutor(1, "read-ahead") as ahead:
        waiting = ahead.submit(_open_together, pieces[0], wanted, dictionaries)
        for following in (*pieces[1:], None):
            found = waiting.result()
            if following is not None:
                waiting = ahead.submit(_open_together, following, wanted, dictionaries)
            yield from found


def _open_together(
    files: Sequence[InputFile], wanted: Wanted, dictionaries: Sequence[str]
) -> list[CandidateSource]:
    """Open remote files with two rounds of requests, and one more for large footers."""
    held = [HeldRanges(file) for file in files]
    _fetch(held, [[each.footer()] for each in held])
    longer = [each for each in held if each.footer_size > FOOTER]
    _fetch(longer, [[each.footer()] for each in longer])
    sources = [CandidateSource(each.file.path, each, dictionaries) for each in held]
    _fetch(held, [wanted(source) for source in sources])
    return sources


def _fetch(held: Sequence[HeldRanges], ranges: Sequence[list[Place]]) -> None:
    wanted = [
        Range(each.file.path, start, stop)
        for each, places in zip(held, ranges, strict=True)
        for start, stop in places
    ]
    found = iter(read_ranges(wanted))
    for each, places in zip(held, ranges, strict=True):
        for start, _ in places:
            each.hold(start, next(found))


def _rows_of(
    source: CandidateSource, partition: int, columns: Sequence[str], rows: int
) -> list[Place]:
    """Return where the first `rows` rows of a partition are."""
    chosen: list[int] = []
    count = 0
    for number in source.groups(partition):
        chosen.append(number)
        count += source.parquet.metadata.row_group(number).num_rows
        if count >= rows:
            break
    return places_of(source, chosen, columns)


def places_of(
    source: CandidateSource, groups: Sequence[int], columns: Sequence[str]
) -> list[Place]:
    """Return where columns of row groups are, as few ranges."""
    names = source.parquet.schema_arrow.names
    places: list[Place] = []
    for group in map(source.parquet.metadata.row_group, groups):
        for column in (group.column(names.index(name)) for name in columns):
            start = column.dictionary_page_offset or column.data_page_offset
            places.append((start, start + column.total_compressed_size))
    merged: list[Place] = []
    for start, stop in sorted(places):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged


class HeldRanges(io.RawIOBase):
    """A remote file, some ranges of which are in memory; others are read when they are needed."""

    def __init__(self, file: InputFile) -> None:
        assert file.size is not None
        self.file, self._size = file, file.size
        self.footer_size = FOOTER
        self._place = 0
        self._held: list[tuple[int, bytes]] = []

    def footer(self) -> Place:
        """Return where the footer is, as far as is known."""
        return max(self._size - self.footer_size, 0), self._size

    def hold(self, start: int, data: bytes) -> None:
        """Keep the bytes from `start` on in memory."""
        self._held.append((start, data))
        if start + len(data) == self._size and data[-4:] == b"PAR1":
            self.footer_size = max(self.footer_size, int.from_bytes(data[-8:-4], "little") + 8)

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self._place, self._size)[whence]
        self._place = base + offset
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        stop = self._size if size is None or size < 0 else min(self._place + size, self._size)
        start, self._place = self._place, max(stop, self._place)
        for first, data in self._held:
            if first <= start and stop <= first + len(data):
                return data[start - first : stop - first]
        return read_ranges([Range(self.file.path, start, stop)])[0] if start < stop else b""
