"""Captions with a word of each of two lists: the last rule of the filter of illegal content. Pure.

Captions and entries are compared as `fold` writes them: without case, accents, full-width forms
and invisible characters. Words are looked up once more with letters of other alphabets, digits and
signs read as the Latin letters that they look like.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property

#: Letters that do not decompose into a letter and an accent.
_LETTERS = str.maketrans({"ı": "i", "ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe", "ħ": "h"})
#: Letters of Cyrillic and Greek that look like Latin ones (Unicode TR 39), and what people write in
#: place of letters.
_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕһԁԛԝвкмнтбαορυχκνιτεηω013457@$!",
    "aeopcyxijshdqwbkmhtbaopuxkvitenwoieastasi",
)
#: Categories of accents, of vowel signs, which are no letters for `re`, and of what is invisible.
_DROPPED = {"Mn", "Mc", "Cf"}
_WORD = re.compile(r"[^\W\d_]+")
_WITH_DIGITS = re.compile(r"[\w@$!]*[^\W\d_][\w@$!]*")
#: Scripts that write no spaces between words: kana, Han, Thai.
_WITHOUT_SPACES = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")


def fold(text: str) -> str:
    """Return a text in lower case, without accents, full-width forms, invisible characters."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKC", text).casefold()
    parts = unicodedata.normalize("NFD", plain)
    letters = "".join(c for c in parts if unicodedata.category(c) not in _DROPPED)
    return unicodedata.normalize("NFC", letters.translate(_LETTERS))


class WordList:
    """Entries of one list: words, beginnings of words (`nud*`), phrases, and words of scripts
    without spaces, which are found anywhere."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._words: set[str] = set()
        self._beginnings: dict[int, set[str]] = {}
        phrases = []
        for entry in map(fold, entries):
            if _WITHOUT_SPACES.search(entry):
                phrases.append(re.escape(entry))
            elif entry.endswith("*") and _WORD.fullmatch(entry[:-1]):
                self._beginnings.setdefault(len(entry) - 1, set()).add(entry[:-1])
            elif _WORD.fullmatch(entry):
                self._words.add(entry)
            else:
                phrases.append(rf"(?<![^\W\d_]){re.escape(entry)}(?![^\W\d_])")
        self._phrases = re.compile("|".join(phrases) or "(?!)")

    def __contains__(self, word: str) -> bool:
        return word in self._words or any(
            word[:size] in beginnings for size, beginnings in self._beginnings.items()
        )

    def is_in(self, text: str, words: Sequence[str]) -> bool:
        """Return whether a folded text, with these words, has an entry."""
        return any(word in self for word in words) or bool(self._phrases.search(text))


class CaptionWords:
    """Two lists. Picklable: it is sent to the workers.

    Args:
        underage, unsafe: entries as in `prompts.json`; with an empty list no caption is flagged.
    """

    def __init__(self, underage: Sequence[str], unsafe: Sequence[str]) -> None:
        self.underage, self.unsafe = tuple(underage), tuple(unsafe)

    @cached_property
    def _lists(self) -> tuple[WordList, WordList]:
        return WordList(self.underage), WordList(self.unsafe)

    def flags(self, caption: str) -> bool:
        """Return whether a caption has an entry of both lists."""
        text = fold(caption)
        words = _WORD.findall(text)
        # Digits stand beside words, as in 2girls, or for letters.
        words += [
            read
            for token in _WITH_DIGITS.findall(text)
            if (read := token.translate(_LOOK_ALIKES)) != token
        ]
        return all(entries.is_in(text, words) for entries in self._lists)
