"""Compares images by their PDQ hashes: rows that share 16 of the 256 bits at one place.

A hash has 16 words of 16 bits, and a row is in the bucket of each. Two hashes that differ in up to
15 bits share a word for certain; of those that differ in 31 random bits, 92 % do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from img2ds.core.pdq import BYTES, bit_counts
from laion.data.embedding_folder import EmbeddingShard
from laion.dedup_images.comparison import Found, Rows, Signatures
from laion.dedup_images.hash_files import HashFiles
from laion.dedup_images.leaders import Closeness, Leaders

#: Words of a hash, and values of a word.
WORDS, VALUES = 16, 1 << 16
#: Rows of a bucket up to which all its pairs are compared, together with those of other buckets.
SMALL = 64


@dataclass(frozen=True, slots=True)
class HashComparison:
    """See `Comparison`.

    Attributes:
        files: the hashes of all images.
        max_distance: most bits in which duplicates differ.
    """

    files: HashFiles
    max_distance: int
    reason: str = "near_duplicate_hash"
    buckets: int = WORDS * VALUES
    visits: int = WORDS
    small: int = SMALL

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype((np.uint8, (BYTES,)))

    def signatures(self, shard: EmbeddingShard, table: pa.Table) -> Signatures:
        """Return the hashes of the images of a shard; zeros where there is none."""
        return self.files.of_keys(pc.cast(table["key"], pa.string()).to_pylist())

    def place(self, block: Signatures) -> tuple[Rows, Rows]:
        """Return each row that has a hash for each of its words, which are its buckets."""
        rows = np.flatnonzero(block.any(axis=1))
        words = np.ascontiguousarray(block[rows]).view(">u2").astype(np.intp)
        buckets = words + VALUES * np.arange(WORDS)
        return np.repeat(rows, WORDS), buckets.ravel()

    def prepare(self, signatures: Signatures) -> Signatures:
        """Return the hashes themselves."""
        return signatures

    def leaders(self) -> HashLeaders:
        """Return the kept rows of a new bucket."""
        return HashLeaders(self.max_distance)

    def small_buckets(self, signatures: Signatures, buckets: Rows) -> Found:
        """Return for each row the first row of its bucket that is near, whether kept or not."""
        hashes = np.ascontiguousarray(signatures).view(np.uint64)
        leader = np.full(len(hashes), -1, np.int64)
        closeness = np.zeros(len(hashes), np.float32)
        first = np.arange(len(hashes))
        for step in range(1, SMALL):
            first = first[: np.searchsorted(first, len(hashes) - step)]
            first = first[buckets[first] == buckets[first + step]]
            if not len(first):
                break
            apart = bit_counts(hashes[first] ^ hashes[first + step])
            near = apart <= self.max_distance
            # Steps become longer, so the last one that is near leads to the first row.
            leader[first[near] + step] = first[near]
            closeness[first[near] + step] = -apart[near]
        return Found(leader, closeness)


class HashLeaders:
    """The kept hashes of one bucket, as vectors: a product of matrices counts bits fastest.

    The closeness of hashes is their distance, with a minus.
    """

    def __init__(self, max_distance: int) -> None:
        self._leaders = Leaders(-max_distance, _closeness)

    def add(self, block: Signatures) -> Found:
        """See `LeaderSet.add`."""
        return self._leaders.add(_signs(block))

    def keep(self, block: Signatures) -> None:
        """See `LeaderSet.keep`."""
        self._leaders.keep(_signs(block))

    def match(self, block: Signatures) -> Found:
        """See `LeaderSet.match`."""
        return self._leaders.match(_signs(block))


def _signs(hashes: Signatures) -> npt.NDArray[np.float32]:
    """Return the bits of hashes as -1 and 1, [n, 256]."""
    bits = np.unpackbits(np.ascontiguousarray(hashes), axis=1)
    return bits.astype(np.float32) * 2 - 1


def _closeness(rows: Signatures, others: Signatures) -> Closeness:
    return np.asarray((rows @ others.T - 8 * BYTES) / 2, np.float32)
