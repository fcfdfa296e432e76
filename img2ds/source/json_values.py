"""JSON values read one by one from a stream of any length.

Lenient towards common mistakes: NaN is null, texts may have control characters, and invalid UTF-8
is replaced.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterator
from typing import Any, cast

import orjson

from img2ds.core.failure import UsageError
from img2ds.source.text import check_text
from img2ds.storage import InputStream

#: Bytes read at once.
BLOCK = 1 << 20
#: Bytes of the longest line, characters of the longest value.
MAX_VALUE = 1 << 26
#: Characters at the start of a document that the end of its first row is searched in.
USUAL_VALUE = 1 << 20
#: A number that ends this close to the end of the text read so far, in characters, may go on.
_OPEN_NUMBER = 8

_BLANKS = re.compile(r"[ \t\r\n]*")
#: A member of an object, and the comma behind it: label and value are texts without escapes but for
#: the \/ of URLs that pandas writes.
_PLAIN = re.compile(r'_"([^"\\]*)"_:_"([^"\\]*(?:\\/[^"\\]*)*)"_,'.replace("_", _BLANKS.pattern))


def _constant(name: str) -> float | None:
    """Read what Python's json writes for other floats: NaN, pandas' missing value, is null."""
    return {"Infinity": math.inf, "-Infinity": -math.inf}.get(name)


#: The standard library's parser, in C, which returns where a value ends. It reads an array of
#: 318 MB at 67 MB/s, 250 000 rows a second; ijson's C backend at 108, but without NaN. Both are
#: hundreds of times as fast as images are downloaded.
_DECODER = json.JSONDecoder(strict=False, parse_constant=_constant)
_SCAN = cast(Any, _DECODER).scan_once


def parse_line(line: bytes) -> Any:
    """Return the value of a line; None, as for null, where it is not JSON."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            return _DECODER.decode(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None


class Values:
    """A position in a JSON document. All methods skip white space first.

    Raises:
        UsageError: the document is broken, or not text; the message says where.
    """

    def __init__(self, stream: InputStream) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._text = ""
        self._at = 0
        self._before = 0  # characters of the document before `_text`
        self._begun = self._ended = False

    @property
    def position(self) -> int:
        """Characters of the document before this position."""
        return self._before + self._at

    @property
    def bytes_read(self) -> int:
        """Bytes of the file up to this position, as stored; an estimate."""
        all_read = self._before + len(self._text)
        return self._stream.stored_bytes_read * self.position // max(all_read, 1)

    def close(self) -> None:
        self._stream.close()

    def peek(self) -> str:
        """Return the next character; "" at the end."""
        if self._at < len(self._text) and (character := self._text[self._at]) not in " \t\r\n":
            return character
        while True:
            match = _BLANKS.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill():
                return ""

    def take(self, wanted: str) -> bool:
        """Read the next character if it is `wanted`; return whether it is."""
        found = self.peek() == wanted
        self._at += found
        return found

    def expect(self, wanted: str) -> None:
        """Read the next character, which must be `wanted`."""
        if not self.take(wanted):
            raise self.broken(f"{wanted} is missing")

    def value(self) -> Any:
        """Read the next value."""
        self.peek()
        while True:
            try:
                value, end = _SCAN(self._text, self._at)
            except StopIteration as error:
                if not self._read_more():
                    raise self.broken("a value is missing", error.value) from None
            except json.JSONDecodeError as error:
                if not self._read_more():
                    raise self.broken(error.msg.lower(), error.pos) from None
            except ValueError as error:  # a whole number of more than 4300 digits
                raise self.broken(str(error).split(";")[0].lower()) from None
            except RecursionError:
                raise self.broken("its brackets are nested too deeply") from None
            else:
                near_end = end + _OPEN_NUMBER > len(self._text)
                if near_end and isinstance(value, (int, float)) and self._fill():
                    continue
                self._at = end
                return value

    def plain_members(self) -> Iterator[tuple[str, str]]:
        """Read members of an object, each with the comma behind it, in a third of the usual time.

        Yields:
            Labels and values as of `_PLAIN`, up to the first of another form, or that is not in the
            text read so far. There is a further member.
        """
        while match := _PLAIN.match(self._text, self._at):
            self._at = match.end()
            yield match[1], match[2].replace("\\/", "/")

    def _read_more(self) -> bool:
        """Read on to find the end of a value; return False where there cannot be one."""
        return len(self._text) - self._at <= MAX_VALUE and self._fill()

    def first(self) -> Any:
        """Return the next value without reading it; None where it is too long for a row."""
        self.peek()
        while len(self._text) - self._at < USUAL_VALUE and self._fill():
            pass
        try:
            return _DECODER.raw_decode(self._text, self._at)[0]
        except (ValueError, RecursionError):
            return None

    def skip_to(self, position: int) -> None:
        """Go forward to a position that `position` had before."""
        while self._before + len(self._text) < position:
            self._at = len(self._text)
            if not self._fill():
                raise self.broken("the file was truncated while it was read")
        self._at = position - self._before

    def broken(self, words: str, at: int | None = None) -> UsageError:
        """Return the error of a document that is broken here, or at `at` in the text."""
        position = self._before + (self._at if at is None else at)
        return UsageError(
            f"{self._stream.path} is broken as JSON at character {position:,}: {words} "
            "(if it has one object a line, --input_format jsonl skips broken lines)"
        )

    def _fill(self) -> bool:
        """Read at least as much text as is left; return False at the end of the file."""
        pieces = [self._text[self._at :]]
        wanted, more = max(len(pieces[0]), 1), 0
        while more < wanted and not self._ended:
            block = self._stream.read(BLOCK)
            if not self._begun:
                check_text(self._stream.path, block[:4096])
                self._begun = True
            self._ended = not block
            pieces.append(self._decode(block, self._ended))
            more += len(pieces[-1])
        if more:
            self._before += self._at
            self._text = "".join(pieces)
            self._at = 0
        return more > 0
