"""Counts the tokens of captions as a model reads them: cut at its context length, unpadded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

TEXT_TOKENS = "text_tokens"

Lengths = npt.NDArray[np.int32]
Tokenize = Callable[[list[str]], Any]

#: Captions that are tokenized at once.
_BLOCK = 1024


def padding_of(tokenize: Tokenize) -> int:
    """Return the token that fills up short texts: the last one of an empty text."""
    return int(tokenize([""])[0][-1])


def lengths_of(tokens: npt.NDArray[np.int64], padding: int) -> Lengths:
    """Return the tokens of each row [n, context length] up to the last that is no padding."""
    used = tokens != padding
    last = tokens.shape[1] - np.argmax(used[:, ::-1], axis=1)
    return np.where(used.any(axis=1), last, 0).astype(np.int32)


def count_tokens(tokenize: Tokenize, texts: Sequence[str | None], padding: int) -> Lengths:
    """Return the tokens of each text; None counts as ""."""
    found = [
        lengths_of(tokenize([text or "" for text in texts[at : at + _BLOCK]]).numpy(), padding)
        for at in range(0, len(texts), _BLOCK)
    ]
    return np.concatenate(found) if found else np.empty(0, np.int32)
