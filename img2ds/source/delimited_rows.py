"""Rows of csv and tsv text. Every line is a row, but for lines that a quoted cell joins.

RFC 4180 lets a quoted cell hold line ends, so a quote that is never closed swallows the rows below
it. Lines are joined only if the whole row follows the RFC, and at most one of them reads as a row
of its own. Else the quote is text, up to the end of its line. In tsv a quote is text, too, unless
it closes right before a tab or the end of the line.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice

from img2ds.core.failure import UsageError

#: Characters of the longest cell; more means that a quote was never closed.
MAX_CELL = 1 << 20
#: Lines read at once. If one of them needs care, all of them are read with care.
_BATCH = 512
#: After other lines, it is a row of its own unless a cell is still open.
_BLANK_LINE = "\n"
_ENDS = "\r\n"
#: How URLs begin, also without a scheme.
_URL = re.compile(r"\s*(?:(?:[a-z][a-z0-9+.-]*:)?//|[\w-]+(?:\.[\w-]+)+/)", re.IGNORECASE)

Row = list[str]


class RowReader:
    """The rows of a file.

    Args:
        path: for messages.
        lines: of text, with their ends.
        delimiter: the character between two cells.
        url_column: tells rows from lines of text.

    Attributes:
        header: the first row; empty if there is none.

    Raises:
        UsageError: a quote in the header is never closed.
    """

    def __init__(self, path: str, lines: Iterator[str], delimiter: str, url_column: str) -> None:
        csv.field_size_limit(MAX_CELL)
        self._delimiter = delimiter
        self._is_tsv = delimiter == "\t"
        self._lines = lines
        self._waiting: deque[str] = deque()  # lines that were read ahead
        self._width = self._url = 0
        first = next((line for line in lines if line.strip(_ENDS)), None)
        header = [] if first is None else self._parse(first) or self._join(first)
        if header is None:
            raise UsageError(f"{path}: a quote in the header is never closed")
        self.header = header
        self._width = len(header)
        if url_column in header:
            self._url = header.index(url_column)

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows below the header, without blank lines; a damaged one is one empty cell."""
        return chain.from_iterable(self._batches())

    def _batches(self) -> Iterator[Iterator[Row]]:
        while lines := list(islice(self._lines, _BATCH)):
            rows = self._parse_many(lines)
            if rows is None:
                self._waiting.extend(lines)
                yield self._read_with_care()
            else:
                yield filter(None, rows)

    def _parse_many(self, lines: list[str]) -> list[Row] | None:
        """Return the row of each line; None if one of them needs care."""
        if '"' not in "".join(lines) and max(map(len, lines)) <= MAX_CELL:
            delimiter = self._delimiter
            return [text.split(delimiter) if (text := line.rstrip(_ENDS)) else [] for line in lines]
        try:
            reader = csv.reader(
                chain(lines, (_BLANK_LINE,)), delimiter=self._delimiter, strict=self._is_tsv
            )
            rows = list(reader)
        except csv.Error:
            return None
        if len(rows) != len(lines) + 1:
            return None
        # Blank lines have no cells, as the one behind the last line.
        if self._is_tsv and not {0, self._width}.issuperset(map(len, rows)):
            return None
        return rows

    def _read_with_care(self) -> Iterator[Row]:
        while self._waiting:
            line = self._waiting.popleft()
            row = self._parse(line)
            if row is None:
                row = self._join(line) or self._parse_open(line)
            if row:
                yield row

    def _parse(self, line: str) -> Row | None:
        """Return the cells of a line; None if the last one is open."""
        if self._is_tsv:
            text = line.rstrip(_ENDS)
            if not text:
                return []
            cells, is_open = _tsv_cells(text)
            return None if is_open else self._fitted(cells, text)
        try:
            rows = list(csv.reader((line, _BLANK_LINE), delimiter=self._delimiter))
        except csv.Error:  # a cell is too long, or, before Python 3.11, has a NUL
            return [""]
        return rows[0] if len(rows) == 2 else None

    def _parse_open(self, line: str) -> Row:
        """Return the cells of a line whose last cell ends with it: its quote is text."""
        text = line.rstrip(_ENDS)
        if self._is_tsv:
            return self._fitted(_tsv_cells(text)[0], text)
        try:
            cells = next(csv.reader((text,), delimiter=self._delimiter))
        except csv.Error:
            return [""]
        # The open cell may have its delimiters, or the row; if neither fits, nothing can be said.
        for found in ([*cells[:-1], '"' + cells[-1]], text.split(self._delimiter)):
            if len(found) == self._width and _URL.match(found[self._url]):
                return found
        return [""]

    def _fitted(self, cells: Row, text: str) -> Row:
        """Return the cells of a line of tsv: those between all its tabs, if only their number fits.

        A tab inside quotes is part of a cell in what spreadsheets write, and ends one elsewhere.
        """
        if len(cells) != self._width and text.count("\t") == self._width - 1:
            cells = text.split("\t")
        return cells if max(map(len, cells)) <= MAX_CELL else [""]

    def _join(self, first: str) -> Row | None:
        """Return the row that a line begins, if further lines belong to it, else None."""
        taken: list[str] = []
        rows = int(self._reads_as_row(first))

        def lines() -> Iterator[str]:
            nonlocal rows
            yield first
            for line in self._ahead():
                taken.append(line)
                rows += self._reads_as_row(line)
                if rows > 1:
                    return
                yield line

        try:
            return next(csv.reader(lines(), delimiter=self._delimiter, strict=True))
        except csv.Error:
            self._waiting.extendleft(reversed(taken))
            return None

    def _ahead(self) -> Iterator[str]:
        while self._waiting:
            yield self._waiting.popleft()
        while (line := next(self._lines, None)) is not None:  # `yield from` would close the file
            yield line

    def _reads_as_row(self, line: str) -> bool:
        if not self._width or "/" not in line:
            return False
        cells = self._parse(line) or line.split(self._delimiter)
        return len(cells) >= self._width and bool(_URL.match(cells[self._url]))


def _tsv_cells(text: str) -> tuple[Row, bool]:
    """Return the cells of a line, and whether a quote that begins one has no other after it."""
    cells: Row = []
    at, is_open = 0, False
    while True:
        if text.startswith('"', at):
            end, never_closed = _closing_quote(text, at)
            is_open |= never_closed
            if end is not None:
                cells.append(text[at + 1 : end].replace('""', '"'))
                if end + 1 == len(text):
                    return cells, is_open
                at = end + 2
                continue
        end = text.find("\t", at)
        if end < 0:
            cells.append(text[at:])
            return cells, is_open
        cells.append(text[at:end])
        at = end + 1


def _closing_quote(text: str, opening: int) -> tuple[int | None, bool]:
    """Return where the quote is that ends a cell, and whether the cell is open without one."""
    at = opening + 1
    while True:
        at = text.find('"', at)
        if at < 0:
            return None, True
        after = text[at + 1 : at + 2]
        if after != '"':
            return (at if after in ("", "\t") else None), False
        at += 2
