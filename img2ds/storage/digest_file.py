"""A set of 16-byte digests as a sorted file: mapped, so that all processes share its memory.

The file is the high words of all digests in ascending order, then their low words. Looking a
digest up reads a few pages of it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

#: Digests are sorted in parts by their first six bits, so that memory stays small.
_BITS = 6
PARTS = 1 << _BITS
#: Digests that are looked up in their own order: fewer are in the caches anyway.
_UNSORTED = 4096
_WORD = np.dtype("<u8")

Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


def as_words(digests: bytes) -> tuple[Words, Words]:
    """Return the high and the low words of digests that stand one after the other."""
    pairs = np.frombuffer(digests, ">u8").reshape(-1, 2).astype(np.uint64)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


class DigestFile:
    """An open set of digests.

    Raises:
        OSError: the file cannot be read, or is not one.
    """

    def __init__(self, path: Path) -> None:
        count, rest = divmod(path.stat().st_size, 16)
        if rest:
            raise OSError(f"{path} is not a file of digests")
        # An empty file cannot be mapped.
        words = np.memmap(path, _WORD, "r") if count else np.empty(0, _WORD)
        self._high, self._low = words[:count], words[count:]

    def __len__(self) -> int:
        return len(self._high)

    def __contains__(self, digest: bytes) -> bool:
        high = int.from_bytes(digest[:8], "big")
        place = int(np.searchsorted(self._high, np.uint64(high)))
        low = int.from_bytes(digest[8:], "big")
        while place < len(self._high) and self._high[place] == high:
            if self._low[place] == low:
                return True
            place += 1
        return False

    def contains(self, high: Words, low: Words) -> Mask:
        """Return which digests are in the set."""
        return self.places(high, low) >= 0

    def places(self, high: Words, low: Words) -> Places:
        """Return the place of each digest in the order of the set, -1 if it is not there."""
        found = np.full(len(high), -1, np.int64)
        if not len(self):
            return found
        if len(high) > _UNSORTED:  # neighbours are then on the same pages
            order = np.argsort(high)
            found[order] = self._look_up(high[order], low[order])
            return found
        return self._look_up(high, low)

    def _look_up(self, high: Words, low: Words) -> Places:
        found = np.full(len(high), -1, np.int64)
        places = np.searchsorted(self._high, high)
        left = np.flatnonzero(places < len(self))
        while len(left):
            left = left[self._high[places[left]] == high[left]]
            same = self._low[places[left]] == low[left]
            found[left[same]] = places[left[same]]
            left = left[~same]
            places[left] += 1
            left = left[places[left] < len(self)]
        return found


def write_digests(path: Path, batches: Iterable[bytes]) -> tuple[int, str]:
    """Write a set of digests, in the memory of a batch and of a 64th of the digests.

    Args:
        batches: digests that stand one after the other, in any order, repeated ones too.

    Returns:
        How many there are, and the SHA-256 of the file, which depends on the set alone.

    Raises:
        OSError: the file cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".sorting-") as folder:
        parts = [Path(folder, f"{number}") for number in range(PARTS)]
        partition(parts, batches, 16)
        lows = Path(folder, "low")
        count = 0
        with path.open("wb") as high_file, lows.open("wb") as low_file:
            for part in parts:
                high, low = as_words(part.read_bytes())
                part.unlink()
                order = np.lexsort((low, high))
                high, low = high[order], low[order]
                new = np.ones(len(high), np.bool_)
                new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
                count += int(new.sum())
                high_file.write(high[new].astype(_WORD).tobytes())
                low_file.write(low[new].astype(_WORD).tobytes())
        with path.open("ab") as file, lows.open("rb") as low_file:
            while data := low_file.read(1 << 20):
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
    digest = sha256()
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return count, digest.hexdigest()


def partition(parts: list[Path], batches: Iterable[bytes], width: int) -> None:
    """Write digests of `width` bytes to `PARTS` files, by their first bits. Raises OSError."""
    files = [path.open("wb") for path in parts]
    try:
        for batch in batches:
            rows = np.frombuffer(batch, np.uint8).reshape(-1, width)
            number = rows[:, 0] >> (8 - _BITS)
            order = np.argsort(number, kind="stable")
            borders = np.searchsorted(number[order], np.arange(len(files) + 1))
            rows = rows[order]
            for place, file in enumerate(files):
                file.write(rows[borders[place] : borders[place + 1]].tobytes())
    finally:
        for file in files:
            file.close()
