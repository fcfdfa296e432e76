"""MetaCLIP's balancing: pairs are drawn so that no concept has many more than a limit.

Algorithm 1 of Xu et al. 2023 (arXiv:2309.16671): a caption matches the entries of a list that occur
in it between spaces, letter case included. An entry with more than t matches in the whole input is
kept with the probability t / matches in each of its pairs; a pair is kept if any of its entries is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError
from img2ds.core.pair_digest import pair_digests
from laion.filter.rules import Rows

#: Signs that stand apart from words, as in MetaCLIP's `spacing`.
_SIGNS = ",.;:?!`"
_SPACES = str.maketrans({**{sign: f" {sign} " for sign in _SIGNS}, "\t": " ", "\n": " ", "\r": " "})
#: The step and the factors of SplitMix64, whose output is as good as random for any two inputs.
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
Counts = npt.NDArray[np.int64]


#: A word of an entry leads to the next one; None to the number of an entry that ends there.
_Tree = dict[str | None, Any]


@dataclass(frozen=True, eq=False)
class Concepts:
    """A list of entries; matching is by words, since both sides of an entry are spaces."""

    entries: tuple[str, ...]
    digest: str

    def matches(self, texts: Iterable[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the matches of all texts, each pair of text and entry once: their numbers."""
        tree = _tree(self)
        rows: list[int] = []
        found: list[int] = []
        for row, text in enumerate(texts):
            words = text.translate(_SPACES).split(" ")
            numbers: set[int] = set()
            for start in range(len(words)):
                node = tree
                for word in words[start:]:
                    if word not in node:
                        break
                    node = node[word]
                    if None in node:
                        numbers.add(node[None])
            rows += [row] * len(numbers)
            found += sorted(numbers)
        return np.array(rows, np.int64), np.array(found, np.int64)

    def count(self, texts: Iterable[str]) -> Counts:
        """Return in how many of the texts each entry occurs."""
        _, found = self.matches(texts)
        return np.bincount(found, minlength=len(self.entries)).astype(np.int64)


@cache
def _tree(concepts: Concepts) -> _Tree:
    """Return the entries as a tree of words; built once in a process."""
    tree: _Tree = {}
    for number, entry in enumerate(concepts.entries):
        node = tree
        for word in entry.split(" "):
            node = node.setdefault(word, {})
        node[None] = number
    return tree


def load_concepts(path: str) -> Concepts:
    """Read a list of entries, JSON as MetaCLIP's metadata.json or one entry a line.

    Raises:
        UsageError: it cannot be read, or is empty.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
        text = data.decode()
        given = json.loads(text) if text.lstrip()[:1] == "[" else text.splitlines()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError(f"--concepts {path} cannot be read: {why}") from None
    except ValueError:
        raise UsageError(f"--concepts {path} is neither a JSON list nor lines of UTF-8") from None
    if not all(isinstance(entry, str) for entry in given):
        raise UsageError(f"--concepts {path} must be a list of texts")
    entries = tuple(dict.fromkeys(entry for entry in given if entry.strip()))
    if not entries:
        raise UsageError(f"--concepts {path} has no entries")
    return Concepts(entries, hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True)
class Balanced:
    """The pairs that balancing keeps. The same pair is kept in every run with the same seed.

    Attributes:
        probabilities: of each entry, float64.
    """

    concepts: Concepts
    probabilities: npt.NDArray[np.float64]
    seed: int
    reasons: tuple[str, ...] = ("no_concept", "concept_limit")

    def failed(self, rows: Rows) -> npt.NDArray[np.intp]:
        matched, entries = self.concepts.matches(rows.texts)
        urls = rows.table["url"].to_pylist()
        pair = pair_digests(urls, rows.texts)[:, 0]
        draws = uniform(pair[matched], entries, self.seed)
        found = np.zeros(len(pair), np.intp)
        found[matched] = 1
        found[matched[draws < self.probabilities[entries]]] = -1
        return found


def uniform(
    pair: npt.NDArray[np.uint64], entries: npt.NDArray[np.int64], seed: int
) -> npt.NDArray[np.float64]:
    """Return numbers from 0 to 1 that depend on the pair, the entry and the seed alone."""
    own = _mixed(entries.astype(np.uint64) + np.uint64(seed) * np.uint64(_GOLDEN))
    return np.asarray((_mixed(pair ^ own) >> np.uint64(11)) / float(1 << 53), np.float64)


def _mixed(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64 (Steele et al. 2014), one step from each word."""
    with np.errstate(over="ignore"):
        words = words + np.uint64(_GOLDEN)
        words = (words ^ (words >> np.uint64(30))) * np.uint64(_FIRST)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(_SECOND)
        return np.asarray(words ^ (words >> np.uint64(31)), np.uint64)


def probabilities(counts: Counts, limit: int) -> npt.NDArray[np.float64]:
    """Return how likely each entry keeps a pair: t / matches, 1 up to t matches."""
    return np.asarray(limit / np.maximum(counts, limit), np.float64)
