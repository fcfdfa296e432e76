"""Whether a short text is English: a linear model over the n-grams of its words.

Detectors of hundreds of languages need a sentence; most alt texts are a few words. This one answers
one question. `scripts/train_english.py` makes the model; docs/common-crawl.md has its accuracy by
length beside CLD2's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt

from laion.wat.native import load

MODEL = Path(__file__).with_name("english.npz")
#: Bytes of an n-gram; a word has a space at either end.
SHORTEST, LONGEST = 2, 5
#: Bytes of a text that count.
MAX_TEXT = 400

#: Runs of letters in UTF-8. Others are ASCII's and Latin-1's signs, U+2000 to U+2BFF, U+3000 to
#: U+303F and emoji.
_WORD = re.compile(
    rb"(?:[a-z]|[\xc3-\xdf].|(?!\xe2[\x80-\xaf]|\xe3\x80)[\xe0-\xef]..|\xf0(?!\x9f)...)+", re.DOTALL
)
# FNV-1a with 32 bits, which are spread over all places at the end.
_BASIS, _WORD_BASIS, _PRIME = 2166136261, 0x9E3779B9, 16777619
_BITS = 0xFFFFFFFF

_english = load("english")


def encode(text: str) -> bytes:
    """Return the bytes of a text that count, in lower case."""
    return text.lower().encode("utf-8", "replace")[:MAX_TEXT]


def hashes(data: bytes) -> Iterator[int]:
    """Yield 32 bits for each n-gram of each word, and for each word."""
    for match in _WORD.finditer(data):
        word = b" %b " % match[0]
        whole = _WORD_BASIS
        for at, byte in enumerate(word):
            whole = (whole ^ byte) * _PRIME & _BITS
            one = _BASIS
            for length, other in enumerate(word[at : at + LONGEST], 1):
                one = (one ^ other) * _PRIME & _BITS
                if length >= SHORTEST:
                    yield _mix(one)
        yield _mix(whole)


def _mix(one: int) -> int:
    one ^= one >> 15
    one = one * 0x2C1B3C6D & _BITS
    return one ^ one >> 13


def _sum(data: bytes, weights: npt.NDArray[np.int8]) -> float:
    """Return the sum of all weights over the root of their number, as the compiled part does."""
    found = np.fromiter(hashes(data), np.uint32)
    if not found.size:
        return 0.0
    return int(weights[found & (len(weights) - 1)].sum(dtype=np.int64)) / sqrt(found.size)


class EnglishModel:
    """The model.

    Args:
        path: a npz file with the weights, int8 [a power of two], what one of them is worth, and
            the bias.
    """

    def __init__(self, path: Path = MODEL) -> None:
        with np.load(path) as model:
            self._weights: npt.NDArray[np.int8] = model["weights"]
            self._unit, self._bias = float(model["unit"]), float(model["bias"])
        self._sum = _english.score if _english else _sum

    def log_odds(self, text: str) -> float:
        """Return the log odds that a text is English; minus infinity if it has no letters."""
        total: float = self._sum(encode(text), self._weights)
        return total * self._unit + self._bias if total else float("-inf")
