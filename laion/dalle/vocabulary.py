"""Captions to text tokens: open_clip's byte-pair encoding, its most frequent pieces renumbered.

Its merges come with the package and take any text, so no tokenizer has to be trained first. Of
its 49 408 pieces a small data set uses few: those seen most often while the picture coder is
trained get numbers of their own, so that the table of embeddings stays small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from laion.clip.open_clip_library import new_tokenizer

Tokens = npt.NDArray[np.int64]

#: open_clip's numbers: how many pieces there are, and which begin and end a text.
PIECES, BEGIN, END = 49_408, 49_406, 49_407

#: Our numbers: nothing, a text's begin and end, a piece that has no number; then the pieces'.
PAD, OUR_BEGIN, OUR_END, UNKNOWN, FIRST = range(5)


class Pieces:
    """Texts to open_clip's pieces: int64 [n, length], -1 behind a text's end."""

    def __init__(self, length: int) -> None:
        self._tokenize: Callable[[list[str]], Any] = new_tokenizer(length)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        found: Tokens = self._tokenize(list(texts)).numpy().astype(np.int64)
        ended = np.cumsum(found == END, axis=1) - (found == END)
        return np.where(ended > 0, -1, found)  # its padding is the number of `!`


def count_pieces(pieces: Tokens) -> Tokens:
    """How often each piece is there: int64 [PIECES]."""
    return np.bincount(pieces[pieces >= 0], minlength=PIECES)


class Vocabulary:
    """The pieces that have numbers of their own.

    Attributes:
        size: how many numbers there are.
    """

    def __init__(self, counts: Tokens, largest: int) -> None:
        """Take the most frequent pieces by `counts`, int64 [PIECES], `largest` numbers in all."""
        counts = counts.copy()
        counts[[BEGIN, END]] = 0
        # Of equally frequent ones the first: the order must not depend on the sort.
        order = np.argsort(-counts, kind="stable")[: largest - FIRST]
        chosen = order[counts[order] > 0]
        self._numbers = np.full(PIECES + 1, UNKNOWN, np.int64)
        self._numbers[chosen] = np.arange(FIRST, FIRST + len(chosen))
        self._numbers[[BEGIN, END, -1]] = OUR_BEGIN, OUR_END, PAD
        self.size = FIRST + len(chosen)

    def __call__(self, pieces: Tokens) -> Tokens:
        """Numbers of pieces, of the same shape; -1 gives `PAD`."""
        found: Tokens = self._numbers[pieces]
        return found

    def unknown(self, pieces: Tokens) -> bool:
        """Whether a text's pieces, int64 [length], are all unknown."""
        inner = self(pieces)
        inner = inner[(inner != PAD) & (inner != OUR_BEGIN) & (inner != OUR_END)]
        return bool((inner == UNKNOWN).all())
