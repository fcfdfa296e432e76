"""A blocked bloom filter over digests: what was added is always found; little else is.

A block is one cache line of eight 64-bit words, and a digest sets one bit in each word of one
block (after Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007,
and Parquet's split block filters). The digest is a hash already: its bits are used as they are.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, replace
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError
from laion.data.candidate_columns import PARTITION_BITS
from laion.dedup.digest import Words

#: 64-bit words of a block, one bit of each a digest: a cache line.
WORDS = 8
#: Bytes before the words in a file: a JSON object, padded with blanks.
HEADER = 4096
FORMAT = "laion bloom filter 1"
#: Bits of a half of the digest that choose a bit in each word, from the lowest on; partitions
#: are told by the highest bits of the same half, which these do not touch.
_CHOICE = 6
_SHIFTS = np.arange(WORDS, dtype=np.uint64) * np.uint64(_CHOICE)
#: Blocks looked at together where all are counted.
_CHUNK = 1 << 16
#: Bytes of a file read at once.
_READ = 1 << 24


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a filter, and what it was sized for.

    Filters of one number of blocks merge; `expected` and `rate` are the digests and the false
    positive rate that it was sized for.
    """

    blocks: int
    expected: int
    rate: float

    @classmethod
    def for_(cls, expected: int, rate: float) -> Shape:
        """The smallest filter whose rate, once `expected` digests are in it, is `rate` or less."""
        low, high = 1, 1
        while predicted_rate(expected, high) > rate:
            high *= 2
        while low < high:
            middle = (low + high) // 2
            if predicted_rate(expected, middle) > rate:
                low = middle + 1
            else:
                high = middle
        return cls(low, expected, rate)

    @property
    def bytes(self) -> int:
        return self.blocks * WORDS * 8


class Bloom:
    """Digests are the halves that `halves` gives. `added` counts those that were added."""

    def __init__(self, shape: Shape, added: int = 0, words: Words | None = None) -> None:
        if shape.blocks >= 1 << 32:
            raise UsageError("a bloom filter of over 256 GiB: lower --expected")
        self.shape = shape
        self.added = added
        self.words = np.zeros((shape.blocks, WORDS), np.uint64) if words is None else words

    def has(self, high: Words, low: Words) -> npt.NDArray[np.bool_]:
        """Which digests were added, or look so."""
        masks = _masks(high)
        rows = np.take(self.words, self._blocks(low), axis=0)
        np.bitwise_and(rows, masks, out=rows)
        found: npt.NDArray[np.bool_] = (rows == masks).all(axis=1)
        return found

    def add(self, high: Words, low: Words) -> None:
        """Add digests that are not equal to each other."""
        places = self._blocks(low)[:, None] * WORDS + np.arange(WORDS)
        np.bitwise_or.at(self.words.reshape(-1), places.reshape(-1), _masks(high).reshape(-1))
        self.added += len(high)

    def merge(self, other: Bloom) -> None:
        """Add all that was added to `other`.

        Raises:
            UsageError: it is of another size.
        """
        if other.shape.blocks != self.shape.blocks:
            raise UsageError(
                f"bloom filters of {self.shape.blocks} and {other.shape.blocks} blocks cannot be "
                "merged: make both with the same --expected and --false_positive_rate"
            )
        np.bitwise_or(self.words, other.words, out=self.words)
        self.added += other.added

    def rate(self) -> float:
        """The false positive rate of the filter as it is, from its bits."""
        total = 0.0
        for start in range(0, self.shape.blocks, _CHUNK):
            words = self.words[start : start + _CHUNK]
            total += float(np.prod(_counts(words) / 64.0, axis=1).sum())
        return total / self.shape.blocks

    def write(self, path: str) -> None:
        """Write it to a local file. Raises OSError."""
        header = {"format": FORMAT, "partition_bits": PARTITION_BITS, **asdict(self.shape),
                  "added": self.added, "current_rate": self.rate()}  # fmt: skip
        with open(path, "wb") as file:
            file.write(json.dumps(header).encode().ljust(HEADER - 1) + b"\n")
            self.words.astype("<u8", copy=False).tofile(file)

    @classmethod
    def read(cls, source: str | IO[bytes]) -> Bloom:
        """The filter in a file: a path, or a file opened in bytes.

        Raises:
            UsageError: it is no filter of ours, or is cut off.
            OSError: it cannot be read.
        """
        with open(source, "rb") if isinstance(source, str) else source as file:
            header = read_header(file)
            shape = Shape(header["blocks"], header["expected"], header["rate"])
            words = np.empty((shape.blocks, WORDS), "<u8")
            flat = words.reshape(-1).view(np.uint8)
            place = 0
            while place < len(flat):
                data = file.read(min(_READ, len(flat) - place))
                if not data:
                    raise UsageError("a bloom filter is cut off: make it again")
                flat[place : place + len(data)] = np.frombuffer(data, np.uint8)
                place += len(data)
        return cls(shape, header["added"], words.astype(np.uint64, copy=False))

    def _blocks(self, low: Words) -> npt.NDArray[np.intp]:
        wide = (low >> np.uint64(32)) * np.uint64(self.shape.blocks)
        blocks: npt.NDArray[np.intp] = (wide >> np.uint64(32)).astype(np.intp)
        return blocks


def read_header(source: str | IO[bytes]) -> dict[str, Any]:
    """What a filter's file says of it. Raises UsageError, and OSError."""
    if isinstance(source, str):
        with open(source, "rb") as file:
            return read_header(file)
    try:
        header = json.loads(source.read(HEADER))
        if header["format"] != FORMAT or header["partition_bits"] != PARTITION_BITS:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise UsageError("this is no bloom filter of this version of laion dedup") from None
    return dict(header)


def merged(filters: list[Bloom]) -> Bloom:
    """The union of filters. Raises UsageError: they are not of one size."""
    first, *others = filters
    for other in others:
        first.merge(other)
    expected = max(bloom.shape.expected for bloom in filters)
    first.shape = replace(first.shape, expected=expected)
    return first


def predicted_rate(added: float, blocks: int) -> float:
    """The false positive rate of a filter of `blocks` blocks with `added` digests in it.

    Blocks fill as Poisson says; one with i digests has a given bit of a word set with
    probability 1 - (1 - 1/64)^i.
    """
    load = added / blocks
    spread = 12 * math.sqrt(load) + 12
    counts = np.arange(max(0, math.floor(load - spread)), math.ceil(load + spread) + 1)
    logs = counts * math.log(load) if load else np.where(counts == 0, 0.0, -np.inf)
    chances = np.exp(logs - load - np.array([math.lgamma(c + 1) for c in counts]))
    full = (1 - (1 - 1 / 64) ** counts) ** WORDS
    return float((chances * full).sum() + max(0.0, 1 - chances.sum()) * full[-1])


def _masks(high: Words) -> Words:
    one, low_bits = np.uint64(1), np.uint64((1 << _CHOICE) - 1)
    masks: Words = one << ((high[:, None] >> _SHIFTS) & low_bits)
    return masks


def _counts(words: Words) -> npt.NDArray[np.uint8]:
    """Bits set in each word."""
    if hasattr(np, "bitwise_count"):  # numpy 2
        counts: npt.NDArray[np.uint8] = np.bitwise_count(words)
        return counts
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=None)
    counts = bits.reshape(*words.shape, 64).sum(axis=2, dtype=np.uint8)
    return counts


def file_name(number: int) -> str:
    """Where the filter of part `number` lies in an output folder."""
    return os.path.join("filters", f"{number:05d}.bloom")
