"""A set of PDQ hashes as a mapped file, searched by distance: multi-index hashing.

A hash is cut into words, and for each word a table lists the hashes by its value. Two hashes that
differ in up to 31 bits have, by the pigeonhole principle, a word in which they differ in no more
bits than that word's radius, if all radii, and one for each word, add up to 32. So it is enough to
look up all values within the radius, and every hash within 31 bits is found. See Norouzi, Punjani
and Fleet, "Fast Search in Hamming Space with Multi-Index Hashing" (CVPR 2012).

The file is the hashes in ascending order; of each word the border of each value's entries; and of
each word the places of the hashes, sorted by its value.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from img2ds.core.pdq import BYTES, DUPLICATE, bit_counts
from img2ds.storage.digest_file import PARTS, Mask, partition

#: Hashes up to which words of 16 bits are faster; the tables of wider ones are never full.
_FEW = 1 << 20
#: Entries that are compared at once: 10 MB.
_BLOCK = 1 << 18
#: Queries that are looked up at once.
_QUERIES = 256
#: Hashes that are cut into words at once.
_ROWS = 1 << 18

Hashes = npt.NDArray[np.uint8]
Values = npt.NDArray[np.uint32]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Cut:
    """How hashes are cut: words of so many bits, and the radius of each."""

    bits: int
    radii: tuple[int, ...]

    @classmethod
    def of(cls, count: int) -> _Cut:
        """Return how `count` hashes are cut: so that there are about as many values as hashes."""
        return cls(16, (1,) * 16) if count <= _FEW else cls(21, (2,) * 8 + (1,) * 4)

    @property
    def values(self) -> int:
        return 1 << self.bits

    def word(self, hashes: Hashes, number: int) -> Values:
        """Return word `number` of each hash, [n]."""
        start = number * self.bits
        first = start // 8
        window = np.zeros((len(hashes), 4), np.uint8)  # no word is in more than four bytes
        window[:, : min(4, BYTES - first)] = hashes[:, first : first + 4]
        found = window.view(">u4").ravel() >> np.uint32(32 - start % 8 - self.bits)
        return np.asarray(found & np.uint32(self.values - 1), np.uint32)

    def flips(self) -> Iterator[Values]:
        """Yield of each word the bits to flip, for all values within its radius."""
        for radius in self.radii:
            sets = [
                sum(1 << bit for bit in each)
                for wrong in range(radius + 1)
                for each in combinations(range(self.bits), wrong)
            ]
            yield np.array(sets, np.uint32)


class NearHashes:
    """An open set of hashes.

    Args:
        count: the hashes that it has.

    Raises:
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path, count: int) -> None:
        cut = _Cut.of(count)
        self._cut, self._count = cut, count
        if not count:
            return
        words = len(cut.radii)
        self._hashes = np.memmap(path, "<u8", "r", 0, (count, BYTES // 8))
        self._borders = np.memmap(path, "<u4", "r", count * BYTES, (words, cut.values + 1)).ravel()
        start = count * BYTES + self._borders.nbytes
        self._places = np.memmap(path, "<u4", "r", start, (words, count)).ravel()
        flips = list(cut.flips())
        self._flips = np.concatenate(flips)
        self._words = np.repeat(np.arange(words), [len(each) for each in flips])

    def contains(self, hashes: Hashes) -> Mask:
        """Return which hashes, uint8 [n, 32], are within `DUPLICATE` bits of one of the set."""
        found = np.zeros(len(hashes), np.bool_)
        if self._count:
            for start in range(0, len(hashes), _QUERIES):
                block = np.ascontiguousarray(hashes[start : start + _QUERIES])
                found[start : start + len(block)] = self._contains(block)
        return found

    def _contains(self, hashes: Hashes) -> Mask:
        cut = self._cut
        words = np.stack([cut.word(hashes, n) for n in range(len(cut.radii))], axis=1)
        values = (words[:, self._words] ^ self._flips).astype(np.intp)
        at = (values + self._words * (cut.values + 1)).ravel()
        firsts = self._borders[at].astype(np.int64)
        counts = self._borders[at + 1] - firsts
        queries, tables = np.divmod(np.flatnonzero(counts), len(self._flips))
        firsts, counts = firsts[counts > 0], counts[counts > 0]
        firsts += self._words[tables] * self._count
        found = np.zeros(len(hashes), np.bool_)
        asked = hashes.view("<u8")
        for lists, entries in _blocks(firsts, counts):
            of = queries[lists]
            stored = self._hashes[self._places[entries]]
            found[of[bit_counts(stored ^ asked[of]) <= DUPLICATE]] = True
        return found


def _blocks(firsts: Places, counts: Places) -> Iterator[tuple[Places, Places]]:
    """Yield the entries of all lists in blocks: the number of the list of each, and the entry."""
    ends = np.cumsum(counts)
    for start in range(0, int(ends[-1]) if len(ends) else 0, _BLOCK):
        numbers = np.arange(start, min(start + _BLOCK, ends[-1]))
        lists = np.searchsorted(ends, numbers, side="right")
        yield lists, firsts[lists] + numbers - (ends - counts)[lists]


def near_hashes_bytes(count: int) -> int:
    """Return the size of the file of `count` hashes."""
    cut = _Cut.of(count)
    return count * BYTES + 4 * len(cut.radii) * (cut.values + 1 + count) if count else 0


def write_near_hashes(path: Path, batches: Iterable[bytes]) -> tuple[int, str]:
    """Write a set of hashes, in some 30 bytes of memory for each.

    Args:
        batches: hashes that stand one after the other, in any order, repeated ones too.

    Returns:
        How many there are, and the SHA-256 of the hashes, which depends on the set alone.

    Raises:
        OSError: the file cannot be written.
    """
    digest, count = sha256(), 0
    with path.open("wb") as file:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".sorting-") as folder:
            parts = [Path(folder, f"{number}") for number in range(PARTS)]
            partition(parts, batches, BYTES)
            for part in parts:
                data = np.unique(np.fromfile(part, f"V{BYTES}")).tobytes()
                part.unlink()
                digest.update(data)
                file.write(data)
                count += len(data) // BYTES
        file.flush()
        if count:
            hashes = np.memmap(path, np.uint8, "r", 0, (count, BYTES))
            for table in _tables(hashes):
                file.write(table.tobytes())
        file.flush()
        os.fsync(file.fileno())
    return count, digest.hexdigest()


def _tables(hashes: Hashes) -> Iterator[Values]:
    """Yield of each word the borders of its values, then of each word the places, sorted by it."""
    cut = _Cut.of(len(hashes))
    for number in range(len(cut.radii)):
        sizes = np.bincount(_word(cut, hashes, number), minlength=cut.values)
        yield np.concatenate([[0], np.cumsum(sizes)]).astype("<u4")
    for number in range(len(cut.radii)):
        yield np.argsort(_word(cut, hashes, number), kind="stable").astype("<u4")


def _word(cut: _Cut, hashes: Hashes, number: int) -> Values:
    words = [
        cut.word(np.asarray(hashes[start : start + _ROWS]), number)
        for start in range(0, len(hashes), _ROWS)
    ]
    return np.concatenate(words)
