"""Which rows of a partition to keep: the first of each pair, in the order they are shown.

`BloomSieve` answers at once, in the memory of its filter, and drops a few firsts wrongly.
`ExactSieve` has to see all digests before; it keeps them in a file.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from laion.dedup.bloom import Bloom, predicted_rate
from laion.dedup.digest import Words, firsts

#: Digests decided on together. Fewer cost more calls, more leave the caches: measured.
BATCH = 1 << 14
#: Digests compared together by an `ExactSieve`: some 64 bytes each meanwhile.
SORTED = 1 << 22

Mask = npt.NDArray[np.bool_]


class BloomSieve:
    """Keeps what the filter has not seen, and adds it.

    Attributes:
        expected_wrong: firsts that were dropped, as many as the filter's load lets expect.
    """

    def __init__(self, bloom: Bloom) -> None:
        self.bloom = bloom
        self.expected_wrong = 0.0

    def keep(self, high: Words, low: Words) -> Mask:
        """Which of the next digests to keep."""
        kept = np.empty(len(high), np.bool_)
        for start in range(0, len(high), BATCH):
            part = slice(start, start + BATCH)
            kept[part] = self._batch(high[part], low[part])
        return kept

    def _batch(self, high: Words, low: Words) -> Mask:
        new = np.flatnonzero(~self.bloom.has(high, low))
        new = new[firsts(high[new], low[new])]
        # Firsts that look known would set no bit: the filter is as full as if they were in it.
        load = self.bloom.added + self.expected_wrong
        rate = predicted_rate(load, self.bloom.shape.blocks)
        # Of the firsts in the batch, this share looked as if they had been there.
        self.expected_wrong += len(new) * rate / (1 - rate) if rate < 1 else 0.0
        self.bloom.add(high[new], low[new])
        kept = np.zeros(len(high), np.bool_)
        kept[new] = True
        return kept


class ExactSieve:
    """Keeps exactly the firsts, and counts those that a filter would have dropped.

    Show every digest by `see`, then `settle`, then ask `keep` for them again in the same order.

    Args:
        path: a local file that is written and removed, 16 bytes a digest.
    """

    def __init__(self, bloom: Bloom, path: Path) -> None:
        self.bloom_sieve = BloomSieve(bloom)
        self.wrong = 0
        self._path = path
        self._file = path.open("wb")
        self._bloom_kept: list[npt.NDArray[np.uint8]] = []  # eight rows a byte
        self._counts: list[int] = []
        self._kept = np.empty(0, np.bool_)
        self._next = 0

    def see(self, high: Words, low: Words) -> None:
        """The next digests. Raises OSError."""
        np.column_stack((high, low)).tofile(self._file)
        self._bloom_kept.append(np.packbits(self.bloom_sieve.keep(high, low)))
        self._counts.append(len(high))

    def settle(self, sorted_at_once: int = SORTED) -> None:
        """Decide on all of them. Raises OSError."""
        self._file.close()
        count = sum(self._counts)
        self._kept = np.zeros(count, np.bool_)
        if count:
            pairs = np.memmap(self._path, np.uint64, "r", shape=(count, 2))
            # Each turn takes those whose low half lies in one range, and reads the file once.
            turns = max(1, math.ceil(count / sorted_at_once))
            step = -(-(1 << 64) // turns)
            for turn in range(turns):
                places = _firsts_within(pairs, turn * step, (turn + 1) * step, sorted_at_once)
                self._kept[places] = True
        self._path.unlink()
        place = 0
        for packed, size in zip(self._bloom_kept, self._counts, strict=True):
            bloom_kept = np.unpackbits(packed, count=size).view(np.bool_)
            self.wrong += int((self._kept[place : place + size] & ~bloom_kept).sum())
            place += size
        self._bloom_kept.clear()

    def keep(self, high: Words, low: Words) -> Mask:
        """Which of the next digests to keep."""
        kept = self._kept[self._next : self._next + len(high)]
        self._next += len(high)
        return kept


def _firsts_within(
    pairs: npt.NDArray[np.uint64], start: int, stop: int, chunk: int
) -> npt.NDArray[np.intp]:
    """The places of the firsts among the pairs whose low half is in a range."""
    places, highs, lows = [], [], []
    for first in range(0, len(pairs), chunk):
        part = np.asarray(pairs[first : first + chunk])
        inside = part[:, 1] >= np.uint64(start)
        if stop < 1 << 64:
            inside &= part[:, 1] < np.uint64(stop)
        found = np.flatnonzero(inside)
        places.append(found + first)
        highs.append(part[found, 0])
        lows.append(part[found, 1])
    where = np.concatenate(places)
    return where[firsts(np.concatenate(highs), np.concatenate(lows))]
