"""JSON values read one by one from a stream, however long the whole is.

Lenient where lists of the world are: NaN is null, control characters may stand in texts, and
what is no UTF-8 is replaced.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import Any, cast

import orjson

from img2ds.core.failure import UsageError
from img2ds.source.text import check_text
from img2ds.storage import InputStream

#: Bytes read at once.
BLOCK = 1 << 20
#: Bytes of one line, characters of one value; more is not what a row of a list has.
MAX_VALUE = 1 << 26
#: Characters that any row but a strange one has fewer of.
USUAL_VALUE = 1 << 20
#: The most that may be missing of a number that a block ends in, for what is there to be one.
_OPEN_NUMBER = 8

_BLANKS = re.compile(r"[ \t\r\n]*")


def _constant(name: str) -> float | None:
    """What Python's json writes for numbers that are none; pandas' missing values are NaN."""
    return {"Infinity": math.inf, "-Infinity": -math.inf}.get(name)


#: The standard library's parser, in C, which tells where a value ends. On an array of 318 MB it
#: comes to 67 MB/s here, 250 000 rows a second; ijson's C backend to 108, but it knows no NaN, and
#: either is hundreds of times what is downloaded meanwhile.
_DECODER = json.JSONDecoder(strict=False, parse_constant=_constant)
_SCAN = cast(Any, _DECODER).scan_once


def parse_line(line: bytes) -> Any:
    """The value that a line holds; None, as for null, where it holds none."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            return _DECODER.decode(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None


class Values:
    """A place in a JSON document. All methods skip blanks before they look.

    Raises:
        UsageError: the document is broken, or is no text; the line says where.
    """

    def __init__(self, stream: InputStream) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._text = ""
        self._at = 0
        self._before = 0  # characters of the document before `_text`
        self._begun = self._ended = False

    @property
    def place(self) -> int:
        """Characters of the document that are read."""
        return self._before + self._at

    @property
    def bytes_read(self) -> int:
        """Bytes of the file up to this place, as stored, nearly."""
        all_read = self._before + len(self._text)
        return self._stream.stored_bytes_read * self.place // max(all_read, 1)

    def close(self) -> None:
        self._stream.close()

    def peek(self) -> str:
        """The next character; "" at the end."""
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
        """Whether the next character is `wanted`, which is read then."""
        found = self.peek() == wanted
        self._at += found
        return found

    def expect(self, wanted: str) -> None:
        if not self.take(wanted):
            raise self.broken(f"{wanted} is missing")

    def value(self) -> Any:
        """The next value."""
        self.peek()
        while True:
            try:
                value, end = _SCAN(self._text, self._at)
            except StopIteration as error:
                if not self._may_go_on():
                    raise self.broken("a value is missing", error.value) from None
            except json.JSONDecodeError as error:
                if not self._may_go_on():
                    raise self.broken(error.msg.lower(), error.pos) from None
            except ValueError as error:  # a whole number of more than 4300 digits
                raise self.broken(str(error).split(";")[0].lower()) from None
            except RecursionError:
                raise self.broken("too many brackets inside one another") from None
            else:
                near_end = end + _OPEN_NUMBER > len(self._text)
                if near_end and isinstance(value, (int, float)) and self._fill():
                    continue
                self._at = end
                return value

    def _may_go_on(self) -> bool:
        """Whether a value that has no end as far as it is read may have one further on."""
        return len(self._text) - self._at <= MAX_VALUE and self._fill()

    def first(self) -> Any:
        """The value that begins here, which is not taken; None where it is too long for a row."""
        self.peek()
        while len(self._text) - self._at < USUAL_VALUE and self._fill():
            pass
        try:
            return _DECODER.raw_decode(self._text, self._at)[0]
        except (ValueError, RecursionError):
            return None

    def skip_to(self, place: int) -> None:
        """Go forward to a place that `place` told before."""
        while self._before + len(self._text) < place:
            self._at = len(self._text)
            if not self._fill():
                raise self.broken("it was cut short since the start")
        self._at = place - self._before

    def broken(self, words: str, at: int | None = None) -> UsageError:
        """The error of a document that is not what it should be from here on, or from `at`."""
        place = self._before + (self._at if at is None else at)
        return UsageError(
            f"{self._stream.path} is broken as JSON at character {place:,}: {words} "
            "(with one object a line, --input_format jsonl leaves out broken lines alone)"
        )

    def _fill(self) -> bool:
        """Have more text behind what is left, as much again at least; False at the end."""
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
