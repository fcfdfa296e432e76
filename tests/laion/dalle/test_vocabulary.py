"""Captions to tokens: padding, unknown pieces, the most frequent ones kept."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("open_clip")

from laion.dalle.vocabulary import (
    FIRST,
    OUR_BEGIN,
    OUR_END,
    PAD,
    UNKNOWN,
    PieceTokenizer,
    Vocabulary,
    count_pieces,
)


def test_numbers_of_pieces() -> None:
    pieces = PieceTokenizer(6)
    seen = pieces(["a red star", "a red circle", "a blue star !"])
    counts = count_pieces(seen)
    assert counts.sum() == (seen >= 0).sum()
    vocabulary = Vocabulary(counts, 100)
    assert vocabulary.size == FIRST + 6  # a red star circle blue !
    numbers = vocabulary(pieces(["a red star", "!", "a green star", "a a a a a a a a"]))
    assert numbers[0, 0] == OUR_BEGIN
    assert (numbers[0, 1:4] >= FIRST).all()
    assert numbers[0, 4:].tolist() == [OUR_END, PAD]
    assert numbers[1, 1] >= FIRST, "an exclamation mark is not padding"
    assert numbers[1, 3:].tolist() == [PAD] * 3
    assert numbers[2, 2] == UNKNOWN
    assert numbers[3, 5] == OUR_END, "a long text is cut and still has an end"
    assert numbers.dtype == np.int64


def test_the_most_frequent_are_kept() -> None:
    pieces = PieceTokenizer(8)
    vocabulary = Vocabulary(count_pieces(pieces(["red red red blue blue star"])), FIRST + 2)
    numbers = vocabulary(pieces(["red blue star"]))[0]
    assert (numbers[1:3] >= FIRST).all()
    assert numbers[3] == UNKNOWN


def test_texts_of_unknown_words() -> None:
    pieces = PieceTokenizer(8)
    vocabulary = Vocabulary(count_pieces(pieces(["a red star"])), 100)
    assert vocabulary.is_unknown(pieces(["green squares"])[0])
    assert vocabulary.is_unknown(pieces([""])[0])
    assert not vocabulary.is_unknown(pieces(["green star"])[0])
