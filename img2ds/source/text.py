"""txt: one URL a line. Blank lines and white space around a URL are ignored.

A line that is one quoted cell is read as such: pandas' `Series.to_csv` quotes URLs with commas.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

import pyarrow as pa

from img2ds.core.failure import UsageError
from img2ds.storage import InputStream, open_stream

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


class TextSource:
    """See `Source`. The one column has the name that is asked for.

    Args:
        empty_column: another one, whose values are null; None without one.
    """

    row_count = None

    def __init__(self, path: str, column: str, empty_column: str | None = None) -> None:
        self.path = path
        self._columns = [column]
        if empty_column not in (None, column):
            self._columns.append(empty_column)
        self.schema = dict.fromkeys(self._columns, "string")
        self.bytes_read = 0
        if path != "-":
            with open_stream(path) as stream:
                check_text(path, stream.read(4096))

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
