"""jsonl: one object a line. Blank lines are skipped; a broken line is a row that fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.source.json_values import BLOCK, MAX_VALUE, parse_line
from img2ds.source.records import RecordSource
from img2ds.source.text import check_text
from img2ds.storage import InputStream, open_stream

_BOM = b"\xef\xbb\xbf"
#: Stands for a line that is too long: not JSON, so that its row fails.
_TOO_LONG = b"?"


def open_jsonl(path: str, wanted: Sequence[str], texts: Sequence[str]) -> RecordSource:
    """Return the source of a file of lines; see `RecordSource`."""
    return RecordSource(path, wanted, texts, lambda: _Lines(open_stream(path)))


class _Lines:
    """The values of the lines; see `Records`."""

    def __init__(self, stream: InputStream) -> None:
        self._stream = stream
        self._size = 0  # bytes read, unpacked
        self._given = 0  # bytes of the lines given

    @property
    def bytes_read(self) -> int:
        return self._stream.stored_bytes_read * self._given // max(self._size, 1)

    def close(self) -> None:
        self._stream.close()

    def __iter__(self) -> Iterator[Any]:
        for line in self._lines():
            self._given += len(line) + 1
            if not line.isspace():
                yield parse_line(line)

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines that are not empty, `_TOO_LONG` for one that is too long."""
        pending: list[bytes] = []  # the pieces of a line whose end is not read yet
        length = 0
        while block := self._stream.read(BLOCK):
            if not self._size:
                self._check(block)
            first, self._size = not self._size, self._size + len(block)
            *lines, rest = (block.removeprefix(_BOM) if first else block).split(b"\n")
            if lines:
                lines[0] = b"".join((*pending, lines[0])) if length <= MAX_VALUE else _TOO_LONG
                yield from filter(None, lines)
                pending, length = [], 0
            length += len(rest)
            if length <= MAX_VALUE:
                pending.append(rest)
        if length:
            yield b"".join(pending) if length <= MAX_VALUE else _TOO_LONG

    def _check(self, start: bytes) -> None:
        check_text(self._stream.path, start[:4096])
        if start.removeprefix(_BOM).lstrip()[:1] == b"[":
            raise UsageError(
                f"{self._stream.path} is a JSON array, not one object a line: "
                "use --input_format json"
            )
