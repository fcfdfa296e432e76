"""The numbers of pairs in DataComp's format: 128 bits, 32 hex digits in columns, "u8,u8" in files.

A pair without such a column has the digest of its URL and caption: see `pair_digest`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

#: The column with the number of a pair.
UID = "uid"
#: A number in a file: its high word, then its low word.
RECORD = np.dtype("u8,u8")

_HEX = re.compile(r"[0-9a-fA-F]{32}")


def is_uid(value: Any) -> bool:
    """Return whether a value of a column is a number."""
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def uid_words(values: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Return the words of numbers [n, 2], the high word first."""
    words = [(int(text[:16], 16), int(text[16:], 16)) for text in values]
    return np.array(words, np.uint64).reshape(-1, 2)
