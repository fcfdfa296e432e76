"""csv and tsv: a header, then rows; quoted as in RFC 4180, in UTF-8.

Every line below the header is a row, broken ones too, see `delimited_rows`: cells that a short row
lacks are null, and a row without its URL fails as such instead of vanishing. URL and caption are
text. The types of the additional columns are inferred from the first rows; empty cells of number
columns are null.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter

import pyarrow as pa
import pyarrow.compute as pc

from img2ds.source.delimited_rows import Row, RowReader
from img2ds.source.source import check_columns
from img2ds.source.text import check_text
from img2ds.storage import InputStream, open_stream

#: Rows at the start of a file that types are inferred from.
INFERENCE_ROWS = 10_000
#: Texts that are null in a column of numbers: pyarrow's list, which img2dataset uses.
NULLS = pa.array(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
     "N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"]
)  # fmt: skip

#: Integers that a 64-bit float may not hold: from 2^53 on, which has 16 digits.
_LARGE_DIGITS = 16
_LARGE_INTEGER = rf"^[+-]?[0-9]{{{_LARGE_DIGITS},}}$"
#: Characters of an integer that is looked at; int() refuses to read thousands.
_MAX_DIGITS = 20
#: The boxes of a row that is too short to have any.
_LACKING = "cut off"


class DelimitedSource:
    """See `Source`.

    Args:
        wanted: the columns of its tables; the first one has the URLs.
        texts: those of them that are text whatever they look like.
        delimiter: the character between two cells.
        boxes: the column with boxes to blur, text as well. A row that is too short to have it gets
            an unreadable value, so that it is not taken for one without boxes.
    """

    row_count = None

    def __init__(
        self,
        path: str,
        wanted: Sequence[str],
        texts: Sequence[str],
        delimiter: str,
        boxes: str | None = None,
    ) -> None:
        self.path = path
        self.schema: dict[str, str] = {}
        self._wanted = list(wanted)
        self._texts = frozenset((*texts, boxes))
        self._boxes = boxes
        self._delimiter = delimiter
        self.bytes_read = 0
        self._started: tuple[InputStream, RowReader] | None = None
        stream = open_stream(path)
        rows = self._start(stream)
        if rows.header:
            check_columns(path, rows.header, wanted)
            self.schema = dict.fromkeys(wanted, "text")
        if path == "-":  # it cannot be opened again
            self._started = stream, rows
        else:
            stream.close()

    def _start(self, stream: InputStream) -> RowReader:
        buffer = io.BufferedReader(stream, 1 << 20)
        check_text(self.path, buffer.peek(4096)[:4096])
        text = io.TextIOWrapper(buffer, encoding="utf-8-sig", errors="replace", newline="")
        return RowReader(self.path, text, self._delimiter, self._wanted[0])

    def shards(self, rows: int) -> Iterator[tuple[int, pa.Table]]:
        if self._started is not None:
            (stream, reader), self._started = self._started, None
        else:
            stream = open_stream(self.path)
            reader = self._start(stream)
        if not reader.header:
            return
        indices = [(name, reader.header.index(name)) for name in self._wanted]
        lines = iter(reader)
        first = list(islice(lines, INFERENCE_ROWS))
        types = {
            name: pa.string() if name in self._texts else _infer(_column(first, index))
            for name, index in indices
        }
        lines = chain(first, lines)
        given = 0
        while piece := list(islice(lines, rows)):
            table = pa.table(
                {
                    name: _typed(
                        _column(piece, index, _LACKING if name == self._boxes else None),
                        types[name],
                    )
                    for name, index in indices
                }
            )
            given += len(piece)
            self.bytes_read = stream.stored_bytes_read * given // max(given, len(first))
            yield len(piece), table
        stream.close()


def _column(rows: list[Row], index: int, lacking: str | None = None) -> pa.Array:
    cells: list[str | None]
    try:
        cells = list(map(itemgetter(index), rows))
    except IndexError:  # a row is too short
        cells = [row[index] if index < len(row) else lacking for row in rows]
    return pa.array(cells, pa.string())


def _without_nulls(column: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_in(column, value_set=NULLS), None, column)


def _infer(column: pa.Array) -> pa.DataType:
    """Return the narrowest type that holds all values of a column of text."""
    values = _without_nulls(column)
    # 007 is a name, not a number: as one it would lose its zeros.
    if (
        values.null_count == len(values)
        or pc.any(pc.match_substring_regex(values, r"^[+-]?0[0-9]")).as_py()
    ):
        return pa.string()
    for number in (pa.int64(), pa.float64()):
        try:
            values.cast(number)
        except pa.ArrowInvalid:
            continue
        return number if number == pa.int64() or _is_exact(values) else pa.string()
    return pa.string()


def _is_exact(values: pa.Array) -> bool:
    """Return whether all integers of a column of text keep their value as 64-bit floats."""
    longest = pc.max(pc.binary_length(values)).as_py() or 0
    if longest < _LARGE_DIGITS:
        return True
    large = values.filter(pc.match_substring_regex(values, _LARGE_INTEGER))
    return all(
        len(text) <= _MAX_DIGITS and int(float(text)) == int(text) for text in large.to_pylist()
    )


def _typed(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Return a column of text as one of another type, as text where a value does not fit."""
    if wanted == pa.string():
        return column
    try:
        values = _without_nulls(column)
        typed = values.cast(wanted)
    except pa.ArrowInvalid:
        return column
    return typed if wanted != pa.float64() or _is_exact(values) else column
