"""A blocked bloom filter over digests: what was added is always found; little else is.

A block is one cache line of eight 64-bit words, and a digest sets one bit in each word of one
block (after Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007,
and Parquet's split block filters). Digests are hashes already: their bits are used as they are.
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
from laion.data.digest import Words
from laion.data.partition import PARTITION_BITS
from laion.dedup.native import load

_native = load("pairs")

#: 64-bit words of a block: a cache line.
WORDS = 8
#: Bytes of a file before the words: a JSON object, padded with blanks.
HEADER = 4096
FORMAT = "laion bloom filter 1"
#: Bits of the high word of a digest that choose the bit in each word, from the lowest on. The
#: partition is in the highest bits, which these do not touch.
_CHOICE = 6
_SHIFTS = np.arange(WORDS, dtype=np.uint64) * np.uint64(_CHOICE)
#: Blocks whose bits are counted together.
_CHUNK = 1 << 16
#: Bytes of a file read at once.
_READ = 1 << 24


@dataclass(frozen=True, slots=True)
class FilterSize:
    """The size of a filter in blocks, and the load it was chosen for.

    Filters with the same number of blocks can be merged.

    Attributes:
        expected: digests that the filter is sized for.
        rate: the false positive rate with that many digests.
    """

    blocks: int
    expected: int
    rate: float

    @classmethod
    def fit(cls, expected: int, rate: float) -> FilterSize:
        """Return the smallest size whose false positive rate at `expected` digests is <= `rate`."""
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


class BloomFilter:
    """A filter over the words of digests; `added` counts the digests that were added."""

    def __init__(self, size: FilterSize, added: int = 0, words: Words | None = None) -> None:
        if size.blocks >= 1 << 32:
            raise UsageError("--expected: the bloom filter would exceed 256 GiB; use a lower value")
        self.size = size
        self.added = added
        self.words = np.zeros((size.blocks, WORDS), np.uint64) if words is None else words

    def contains(self, high: Words, low: Words) -> npt.NDArray[np.bool_]:
        """Return which digests were added, false positives included."""
        if _native is not None:
            there = np.empty(len(high), np.bool_)
            _native.contains(self.words, high, low, there)
            return there
        masks = _masks(high)
        rows = np.take(self.words, self._blocks(low), axis=0)
        np.bitwise_and(rows, masks, out=rows)
        found: npt.NDArray[np.bool_] = (rows == masks).all(axis=1)
        return found

    def add(self, high: Words, low: Words) -> None:
        """Add digests that differ from each other."""
        self.added += len(high)
        if _native is not None:
            _native.add(self.words, high, low)
            return
        places = self._blocks(low)[:, None] * WORDS + np.arange(WORDS)
        np.bitwise_or.at(self.words.reshape(-1), places.reshape(-1), _masks(high).reshape(-1))

    def merge(self, other: BloomFilter) -> None:
        """Add all digests of `other`.

        Raises:
            UsageError: it has another size.
        """
        if other.size.blocks != self.size.blocks:
            raise UsageError(
                f"bloom filters of {self.size.blocks} and {other.size.blocks} blocks cannot be "
                "merged: make both with the same --expected and --false_positive_rate"
            )
        np.bitwise_or(self.words, other.words, out=self.words)
        self.added += other.added

    def current_rate(self) -> float:
        """Return the false positive rate of the filter as it is, from its bits."""
        total = 0.0
        for start in range(0, self.size.blocks, _CHUNK):
            words = self.words[start : start + _CHUNK]
            total += float(np.prod(_bit_counts(words) / 64.0, axis=1).sum())
        return total / self.size.blocks

    def write(self, path: str) -> float:
        """Write the filter to a local file, and return its `current_rate`. Raises OSError."""
        rate = self.current_rate()
        header = {"format": FORMAT, "partition_bits": PARTITION_BITS, **asdict(self.size),
                  "added": self.added, "current_rate": rate}  # fmt: skip
        with open(path, "wb") as file:
            file.write(json.dumps(header).encode().ljust(HEADER - 1) + b"\n")
            self.words.astype("<u8", copy=False).tofile(file)
        return rate

    @classmethod
    def read(cls, source: str | IO[bytes]) -> BloomFilter:
        """Read a filter from a path or from a file opened in binary mode.

        Raises:
            UsageError: it is not one of our filters, or is cut short.
            OSError: it cannot be read.
        """
        with open(source, "rb") if isinstance(source, str) else source as file:
            header = read_header(file)
            size = FilterSize(header["blocks"], header["expected"], header["rate"])
            words = np.empty((size.blocks, WORDS), "<u8")
            flat = words.reshape(-1).view(np.uint8)
            place = 0
            while place < len(flat):
                data = file.read(min(_READ, len(flat) - place))
                if not data:
                    raise UsageError("a bloom filter is truncated: rerun the dedup that wrote it")
                flat[place : place + len(data)] = np.frombuffer(data, np.uint8)
                place += len(data)
        return cls(size, header["added"], words.astype(np.uint64, copy=False))

    def _blocks(self, low: Words) -> npt.NDArray[np.intp]:
        wide = (low >> np.uint64(32)) * np.uint64(self.size.blocks)
        blocks: npt.NDArray[np.intp] = (wide >> np.uint64(32)).astype(np.intp)
        return blocks


def read_header(source: str | IO[bytes]) -> dict[str, Any]:
    """Read the header of a filter's file. Raises UsageError, OSError."""
    if isinstance(source, str):
        with open(source, "rb") as file:
            return read_header(file)
    try:
        header = json.loads(source.read(HEADER))
        if header["format"] != FORMAT or header["partition_bits"] != PARTITION_BITS:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise UsageError("not a bloom filter of this version of laion dedup") from None
    return dict(header)


def merged(filters: list[BloomFilter]) -> BloomFilter:
    """Return the union of filters. Raises UsageError when their sizes differ."""
    first, *others = filters
    for other in others:
        first.merge(other)
    expected = max(bloom.size.expected for bloom in filters)
    first.size = replace(first.size, expected=expected)
    return first


def predicted_rate(added: float, blocks: int) -> float:
    """Return the false positive rate of a filter of `blocks` blocks with `added` digests.

    The digests of a block are Poisson distributed. A block with i digests has a given bit of a
    word set with probability 1 - (1 - 1/64)^i.
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


def _bit_counts(words: Words) -> npt.NDArray[np.uint8]:
    """Return the number of bits set in each word."""
    if hasattr(np, "bitwise_count"):  # numpy 2
        counts: npt.NDArray[np.uint8] = np.bitwise_count(words)
        return counts
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=None)
    counts = bits.reshape(*words.shape, 64).sum(axis=2, dtype=np.uint8)
    return counts


def filter_name(number: int) -> str:
    """Return the name of the filter of shard `number` inside an output folder."""
    return os.path.join("filters", f"{number:05d}.bloom")
