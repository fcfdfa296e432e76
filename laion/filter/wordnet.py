"""DataComp's text-based filter: captions that name a synset of ImageNet-21k.

A word counts by its first synset in WordNet, found as NLTK's `wordnet.synsets(word)[0]` finds it:
nouns before verbs, adjectives and adverbs, inflections by WordNet's own rules (morphy).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError
from laion.filter.rules import Rows

#: Parts of speech in the order in which NLTK looks at them.
_PARTS = ("noun", "verb", "adj", "adv")
#: Endings of inflected words and what they become (morphy(7WN), "Rules of Detachment").
_ENDINGS = {
    "noun": (
        ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"),
        ("shes", "sh"), ("men", "man"), ("ies", "y"),
    ),
    "verb": (
        ("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"),
        ("ing", ""),
    ),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}  # fmt: skip
_SYNSET = re.compile(r"n?(\d{8})")


class Wordnet:
    """WordNet's index: words and their first synsets.

    Args:
        folder: WordNet 3.0's `dict`, with `index.noun`, `noun.exc` and so on.

    Raises:
        UsageError: a file cannot be read, or has another form.
    """

    def __init__(self, folder: str) -> None:
        self._hash: Any = hashlib.sha256()
        try:
            self._first = {part: self._index(f"{folder}/index.{part}") for part in _PARTS}
            self._irregular = {part: self._exceptions(f"{folder}/{part}.exc") for part in _PARTS}
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise UsageError(f"--wordnet: {error.filename} cannot be read: {why}") from None
        except (ValueError, IndexError):
            raise UsageError(f"--wordnet {folder} is no dict folder of WordNet 3") from None
        self.digest: str = self._hash.hexdigest()
        self._hash = None  # cannot be sent to workers

    def _lines(self, path: str) -> Iterator[list[str]]:
        with open(path, "rb") as file:
            data = file.read()
        self._hash.update(os.path.basename(path).encode() + data)
        for line in data.decode().splitlines():
            if not line.startswith(" "):  # the licence
                yield line.split()

    def _index(self, path: str) -> dict[str, int]:
        """Return the offset of the first synset of each lemma.

        A line is: lemma, part, synsets, pointers, one symbol a pointer, senses, tagged senses,
        offsets (wndb(5WN)).
        """
        return {
            fields[0]: int(fields[4 + int(fields[3]) + 2]) for fields in self._lines(path) if fields
        }

    def _exceptions(self, path: str) -> dict[str, list[str]]:
        return {fields[0]: fields[1:] for fields in self._lines(path) if fields}

    def first_synset(self, word: str) -> int | None:
        """Return the offset of a word's most likely synset; None if WordNet lacks it."""
        word = word.lower()
        for part in _PARTS:
            known = self._first[part]
            for form in self._forms(word, part):
                if form in known:
                    return known[form]
        return None

    def _forms(self, word: str, part: str) -> Iterator[str]:
        """Yield the word and what it may be an inflection of."""
        if word in self._irregular[part]:
            yield word
            yield from self._irregular[part][word]
            return
        yield word
        forms = [word]
        while forms := [
            form[: -len(old)] + new
            for form in forms
            for old, new in _ENDINGS[part]
            if form.endswith(old)
        ]:
            known = [form for form in forms if form in self._first[part]]
            if known:
                yield from known
                return


@dataclass(frozen=True, slots=True)
class NamesSynset:
    """A word of the caption, apart by white space, has its first synset among `synsets`."""

    wordnet: Wordnet
    synsets: frozenset[int]
    reasons: tuple[str, ...] = ("no_synset",)

    def failed(self, rows: Rows) -> npt.NDArray[np.intp]:
        known: dict[str, bool] = {}
        found = []
        for text in rows.texts:
            passes = False
            for word in text.split():
                if word not in known:
                    known[word] = self.wordnet.first_synset(word) in self.synsets
                if passes := known[word]:
                    break
            found.append(-1 if passes else 0)
        return np.array(found, np.intp)


def load_synsets(path: str) -> tuple[frozenset[int], str]:
    """Read WordNet IDs of ImageNet, one a line (n01440764), and the SHA-256 of the file.

    Raises:
        UsageError: it cannot be read, or a line is none.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError(f"--synsets {path} cannot be read: {why}") from None
    found = set()
    for line in data.decode(errors="replace").split():
        match = _SYNSET.fullmatch(line)
        if match is None:
            raise UsageError(f"--synsets {path}: {line[:40]!r} is no WordNet ID such as n01440764")
        found.add(int(match[1]))
    if not found:
        raise UsageError(f"--synsets {path} has no WordNet IDs")
    return frozenset(found), hashlib.sha256(data).hexdigest()
