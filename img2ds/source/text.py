"""txt: one URL a line. Blank lines and white space around a URL are ignored.

A line that is one quoted cell is read as such: pandas' `Series.to_csv` quotes URLs with commas.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

import pyarrow as pa

from img2ds.core.failure import UsageError
from img2ds.storage import STDIN, InputStream, open_stream, stdin_start

#: Bytes read at once.
BLOCK = 1 << 20
#: Bytes of text for one NUL, at least. UTF-16 has one in two.
_NULS = 16
_QUOTE = ord('"')
#: Bytes of a line that are kept; no server accepts a longer URL.
MAX_LINE = 1 << 16


def check_text(path: str, start: bytes) -> None:
    """Raise UsageError where a file that starts like this is not UTF-8 text."""
    if start.startswith(b"PAR1"):
        if path == STDIN:
            raise UsageError("parquet cannot be read from standard input: save it to a file first")
        raise UsageError(f"{path} is a parquet file: use --input_format parquet")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{path} is UTF-16: save it as UTF-8")
    if not _is_text(start):
        raise UsageError(f"{path} is not a text file: see --input_format")


def _is_text(start: bytes) -> bool:
    """Return whether a file may be text; a NUL here and there costs its row alone."""
    nuls = start.count(0)
    if not nuls:
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return nuls <= max(len(start) // _NULS, 1)


def _check_guess(path: str, start: bytes, column: str) -> None:
    """Raise UsageError where a list that is taken for txt begins like another format.

    A header of csv or tsv has the URLs' column among others; no URL begins with a brace.
    """
    line = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:4096].split(b"\n")[0].strip()
    if line.startswith(b"{") or (line[:1] == b"[" and line[1:].lstrip()[:1] in (b"", b"{")):
        kind = "json" if line.startswith(b"[") else "jsonl"
    elif column.encode("utf-8", "replace") in _cells(line, b","):
        kind = "csv"
    elif column.encode("utf-8", "replace") in _cells(line, b"\t"):
        kind = "tsv"
    else:
        return
    name = "standard input" if path == STDIN else path
    raise UsageError(f"{name} begins like {kind}: add --input_format {kind}, or txt if it is not")


def _cells(line: bytes, delimiter: bytes) -> list[bytes]:
    """Return the cells of a line that has several."""
    cells = [cell.strip(b' "') for cell in line.split(delimiter)]
    return cells if len(cells) > 1 else []


class TextSource:
    """See `Source`. The one column has the name that is asked for.

    Args:
        empty_column: another one, whose values are null; None without one.
        guessed: whether nobody said that it is txt.

    Raises:
        UsageError: it is of another format, by its first line.
    """

    row_count = None

    def __init__(
        self, path: str, column: str, empty_column: str | None = None, guessed: bool = False
    ) -> None:
        self.path = path
        self._columns = [column]
        if empty_column not in (None, column):
            self._columns.append(empty_column)
        self.schema = dict.fromkeys(self._columns, "string")
        self.bytes_read = 0
        if path == STDIN:
            start = stdin_start() or b""
        else:
            with open_stream(path) as stream:
                start = stream.read(4096)
        if path != STDIN or start.startswith(b"PAR1"):  # it may be compressed
            check_text(path, start)
        if guessed:
            _check_guess(path, start, column)

    def shards(self, rows: int) -> Iterator[tuple[int, pa.Table]]:
        waiting: list[str] = []
        with open_stream(self.path) as stream:
            for urls in _urls(stream):
                waiting += urls
                block = stream.stored_bytes_read - self.bytes_read
                start = 0
                while len(waiting) - start >= rows:
                    self.bytes_read += block * rows // len(waiting)
                    yield rows, self._table(waiting[start : start + rows])
                    start += rows
                del waiting[:start]
        if waiting:
            yield len(waiting), self._table(waiting)

    def _table(self, urls: list[str]) -> pa.Table:
        empty = pa.nulls(len(urls), pa.string())
        values = [pa.array(urls, pa.string()), *[empty] * (len(self._columns) - 1)]
        return pa.table(values, self._columns)


def _urls(stream: InputStream) -> Iterator[list[str]]:
    tail = b""
    first = True
    while block := stream.read(BLOCK):
        if first:
            check_text(stream.path, block[:4096])
            block = block.removeprefix(b"\xef\xbb\xbf")
            first = False
        lines = (tail + block).split(b"\n")
        tail = lines.pop()[: MAX_LINE + 1]
        yield _decode(lines)
    yield _decode([tail])


def _decode(lines: list[bytes]) -> list[str]:
    stripped = (line[:MAX_LINE].strip() for line in lines)
    return [
        (line if line[0] != _QUOTE else _unquoted(line)).decode("utf-8", "replace")
        for line in stripped
        if line
    ]


def _unquoted(line: bytes) -> bytes:
    """Return the content of a line that is one quoted cell (RFC 4180), any other line as it is."""
    inner = line[1:-1]
    if len(line) < 2 or line[-1] != _QUOTE or b'"' in inner.replace(b'""', b""):
        return line
    return inner.replace(b'""', b'"').strip()
