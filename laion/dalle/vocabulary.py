"""Captions to text tokens: open_clip's byte-pair encoding, its most frequent pieces renumbered.

Its merges come with the package and encode any text, so no tokenizer is trained. A small dataset
uses few of its 49,408 pieces: the most frequent ones, counted while the image coder is trained,
get their own tokens, which keeps the embedding table small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from laion.clip.open_clip_library import new_tokenizer

Tokens = npt.NDArray[np.int64]

#: open_clip's numbers: the count of its pieces, and those that begin and end a text.
PIECES, BEGIN, END = 49_408, 49_406, 49_407

#: Tokens: padding, begin and end of a text, a piece outside the vocabulary, the first piece.
PAD, OUR_BEGIN, OUR_END, UNKNOWN, FIRST = range(5)


class PieceTokenizer:
    """Encodes texts to open_clip's pieces: int64 [n, length], -1 after the end of a text."""

    def __init__(self, length: int) -> None:
        self._tokenize: Callable[[list[str]], Any] = new_tokenizer(length)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        found: Tokens = self._tokenize(list(texts)).numpy().astype(np.int64)
        ended = np.cumsum(found == END, axis=1) - (found == END)
        return np.where(ended > 0, -1, found)  # its padding has the number of `!`


def count_pieces(pieces: Tokens) -> Tokens:
    """Count each piece: int64 [PIECES]."""
    return np.bincount(pieces[pieces >= 0], minlength=PIECES)


class Vocabulary:
    """Maps pieces to tokens.

    Attributes:
        size: the number of different tokens.
    """

    def __init__(self, counts: Tokens, max_size: int) -> None:
        """Select the most frequent pieces by `counts`, int64 [PIECES], for `max_size` tokens."""
        counts = counts.copy()
        counts[[BEGIN, END]] = 0
        # A stable sort: equally frequent pieces keep their order.
        order = np.argsort(-counts, kind="stable")[: max_size - FIRST]
        chosen = order[counts[order] > 0]
        self._numbers = np.full(PIECES + 1, UNKNOWN, np.int64)
        self._numbers[chosen] = np.arange(FIRST, FIRST + len(chosen))
        self._numbers[[BEGIN, END, -1]] = OUR_BEGIN, OUR_END, PAD
        self.size = FIRST + len(chosen)

    def __call__(self, pieces: Tokens) -> Tokens:
        """Return the tokens of pieces, of the same shape; `PAD` for -1."""
        found: Tokens = self._numbers[pieces]
        return found

    def is_unknown(self, pieces: Tokens) -> bool:
        """Return whether all pieces of a text, int64 [length], are outside the vocabulary."""
        inner = self(pieces)
        inner = inner[(inner != PAD) & (inner != OUR_BEGIN) & (inner != OUR_END)]
        return bool((inner == UNKNOWN).all())
