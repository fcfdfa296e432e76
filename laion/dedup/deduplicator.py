"""Decides which rows of a partition to keep: the first of each pair, in the order they come.

`BloomDeduplicator` decides at once in the memory of its filter and drops a few new pairs wrongly.
`ExactDeduplicator` reads all digests first and keeps them in a file.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from laion.data.digest import Words
from laion.dedup.bloom import BloomFilter, predicted_rate

#: Digests decided on together. Fewer cost more calls, more do not fit the caches (measured).
BATCH = 1 << 14
#: Digests that an `ExactDeduplicator` compares at once, at some 64 bytes each.
COMPARED_AT_ONCE = 1 << 22

Mask = npt.NDArray[np.bool_]


class BloomDeduplicator:
    """Keeps the digests that the filter does not contain, and adds them.

    Attributes:
        expected_wrong: the expected number of new pairs that were dropped wrongly so far.
    """

    def __init__(self, bloom: BloomFilter) -> None:
        self.bloom = bloom
        self.expected_wrong = 0.0

    def keep(self, high: Words, low: Words) -> Mask:
        """Return which of the next digests to keep."""
        kept = np.empty(len(high), np.bool_)
        for start in range(0, len(high), BATCH):
            batch = slice(start, start + BATCH)
            kept[batch] = self._keep_batch(high[batch], low[batch])
        return kept

    def _keep_batch(self, high: Words, low: Words) -> Mask:
        new = np.flatnonzero(~self.bloom.contains(high, low))
        new = new[first_occurrences(high[new], low[new])]
        # A pair dropped wrongly would set no bit: the filter is as full as if it were added.
        load = self.bloom.added + self.expected_wrong
        rate = predicted_rate(load, self.bloom.size.blocks)
        # Of the new pairs of the batch, this share was found in the filter.
        self.expected_wrong += len(new) * rate / (1 - rate) if rate < 1 else 0.0
        self.bloom.add(high[new], low[new])
        kept = np.zeros(len(high), np.bool_)
        kept[new] = True
        return kept


class ExactDeduplicator:
    """Keeps exactly the first of each pair, and counts those that a filter would have dropped.

    Call `scan` with all digests, then `resolve`, then `keep` with the same digests in the same
    order.

    Args:
        path: a local file to write and remove, 16 bytes a digest.

    Attributes:
        wrong: new pairs that the filter would have dropped; known after `resolve`.
    """

    def __init__(self, bloom: BloomFilter, path: Path) -> None:
        self.approximate = BloomDeduplicator(bloom)
        self.wrong = 0
        self._path = path
        self._file = path.open("wb")
        self._bloom_kept: list[npt.NDArray[np.uint8]] = []  # eight rows a byte
        self._counts: list[int] = []
        self._kept = np.empty(0, np.bool_)
        self._next = 0

    def scan(self, high: Words, low: Words) -> None:
        """Take the next digests. Raises OSError."""
        np.column_stack((high, low)).tofile(self._file)
        self._bloom_kept.append(np.packbits(self.approximate.keep(high, low)))
        self._counts.append(len(high))

    def resolve(self, at_once: int = COMPARED_AT_ONCE) -> None:
        """Decide on all digests. Raises OSError."""
        self._file.close()
        count = sum(self._counts)
        self._kept = np.zeros(count, np.bool_)
        if count:
            pairs = np.memmap(self._path, np.uint64, "r", shape=(count, 2))
            # Each pass handles one range of low words, and reads the file once.
            passes = max(1, math.ceil(count / at_once))
            step = -(-(1 << 64) // passes)
            for start in range(0, passes * step, step):
                self._kept[_first_in_range(pairs, start, start + step, at_once)] = True
        self._path.unlink()
        place = 0
        for packed, size in zip(self._bloom_kept, self._counts, strict=True):
            bloom_kept = np.unpackbits(packed, count=size).view(np.bool_)
            self.wrong += int((self._kept[place : place + size] & ~bloom_kept).sum())
            place += size
        self._bloom_kept.clear()

    def keep(self, high: Words, low: Words) -> Mask:
        """Return which of the next digests to keep."""
        kept = self._kept[self._next : self._next + len(high)]
        self._next += len(high)
        return kept


def first_occurrences(high: Words, low: Words) -> Mask:
    """Return which digests are the first of their value, in the order given."""
    count = len(high)
    if count == 0:
        return np.zeros(0, np.bool_)
    # Each digest is hashed to a place of a table that keeps the earliest one: this settles
    # nearly all of them without sorting.
    bits = max(count - 1, 1).bit_length() + 1
    index = np.arange(count, dtype=np.int32)
    table = np.full(1 << bits, count, np.int32)
    places = (low >> np.uint64(64 - bits)).astype(np.intp)
    np.minimum.at(table, places, index)
    winners = table[places]
    first: Mask = winners == index
    rest = np.flatnonzero(~first)
    # One that equals its winner is a repetition; the others only share a place of the table.
    same = (high[rest] == high[winners[rest]]) & (low[rest] == low[winners[rest]])
    rest = rest[~same]
    order = rest[np.lexsort((low[rest], high[rest]))]  # stable: the earlier of equals comes first
    new = np.ones(len(order), np.bool_)
    new[1:] = (high[order[1:]] != high[order[:-1]]) | (low[order[1:]] != low[order[:-1]])
    first[order[new]] = True
    return first


def _first_in_range(
    pairs: npt.NDArray[np.uint64], start: int, stop: int, chunk: int
) -> npt.NDArray[np.intp]:
    """Return the places of the first of each pair whose low word is in [start, stop)."""
    places, highs, lows = [], [], []
    for first in range(0, len(pairs), chunk):
        block = np.asarray(pairs[first : first + chunk])
        inside = block[:, 1] >= np.uint64(start)
        if stop < 1 << 64:
            inside &= block[:, 1] < np.uint64(stop)
        found = np.flatnonzero(inside)
        places.append(found + first)
        highs.append(block[found, 0])
        lows.append(block[found, 1])
    where = np.concatenate(places)
    return where[first_occurrences(np.concatenate(highs), np.concatenate(lows))]
