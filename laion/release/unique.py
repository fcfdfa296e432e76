"""Unique pairs and their SAMPLE_IDs, out of memory's reach: partitions on disk, one at a time.

A pair is its URL and its text. Of equal pairs the first one counts. Disk: 24 bytes a pair; memory:
some 60 bytes a pair of one partition.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError
from laion.data.candidate import pair_digest

#: Pairs a partition should have: its working memory is then some 120 MB.
PARTITION_PAIRS = 2_000_000
#: Most partitions, each of which is an open file.
MAX_PARTITIONS = 512
#: Bytes gathered for a partition before they are written.
_BUFFER = 1 << 16

_RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("place", "<u8")])

Digests = npt.NDArray[np.uint64]
Records = npt.NDArray[Any]


@contextmanager
def scratch_folder(tmp_dir: str | None) -> Iterator[str]:
    """A local folder for partitions, in `tmp_dir` or the system's, that goes at the end.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        if tmp_dir is not None:
            os.makedirs(tmp_dir, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix="laion-", dir=tmp_dir)
    except OSError as error:
        raise UsageError(f"cannot write to {tmp_dir or 'the temporary folder'}: {error}") from None
    with folder as path:
        yield path


def pair_digests(urls: Sequence[str | None], texts: Sequence[str | None]) -> Digests:
    """The digests of pairs, as candidates have them: n rows of two 64-bit halves."""
    joined = b"".join(
        [pair_digest(url or "", text or "") for url, text in zip(urls, texts, strict=True)]
    )
    return np.frombuffer(joined, ">u8").astype(np.uint64).reshape(-1, 2)


def sample_ids(digests: Digests) -> npt.NDArray[np.int64]:
    """The SAMPLE_IDs that digests stand for, but for the few that meet: the first 63 bits."""
    bits: npt.NDArray[np.uint64] = digests[:, 0] >> np.uint64(1)
    return bits.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What one partition came to.

    Attributes:
        repeated: places of pairs that stand at an earlier place already.
        moved: places of pairs whose SAMPLE_ID is another pair's, and the ID they have instead.
    """

    repeated: npt.NDArray[np.uint64]
    moved: dict[int, int]


class UniquePairs:
    """Takes the digests of pairs at numbered places, and tells which are repeated.

    Args:
        folder: an existing local folder for the partitions.
        expected: how many pairs there will be, at most.
    """

    def __init__(self, folder: str, expected: int) -> None:
        count = 1
        while count * PARTITION_PAIRS < expected and count < MAX_PARTITIONS:
            count *= 2
        self._bits = count.bit_length() - 1
        self._paths = [os.path.join(folder, f"{number}.pairs") for number in range(count)]
        self._files = [open(path, "wb", buffering=_BUFFER) for path in self._paths]  # noqa: SIM115

    def add(self, places: npt.NDArray[np.uint64], digests: Digests) -> None:
        """The pairs at `places`, which are above all places before. Raises OSError."""
        records = np.empty(len(places), _RECORD)
        records["high"], records["low"] = digests[:, 0], digests[:, 1]
        records["place"] = places
        if not self._bits:
            self._files[0].write(records.tobytes())
            return
        partition = (digests[:, 0] >> np.uint64(64 - self._bits)).astype(np.int64)
        order = np.argsort(partition, kind="stable")
        records, partition = records[order], partition[order]
        borders = np.searchsorted(partition, np.arange(len(self._files) + 1))
        for number, file in enumerate(self._files):
            if borders[number] < borders[number + 1]:
                file.write(records[borders[number] : borders[number + 1]].tobytes())

    def resolve(self) -> Iterator[Resolved]:
        """What each partition comes to; its file is gone afterwards. Raises OSError."""
        self.close()
        for number, path in enumerate(self._paths):
            records = np.fromfile(path, _RECORD)
            os.unlink(path)
            if len(records):
                # An ID is a digest's bits but the last, so partitions do not share IDs.
                width = 63 - self._bits
                yield resolve(records, ((number + 1) << width) - 1)

    def close(self) -> None:
        """Close the files. Raises OSError when the disk does not take their last bytes."""
        for file in self._files:
            file.close()


def resolve(records: Records, highest: int) -> Resolved:
    """Find the repeated pairs among `records`, and different ones that share an ID.

    IDs that meet move up to the next free one, in the order of the digests: which ID a pair
    has follows from the set of pairs alone, not from their order or from the run.

    Args:
        records: as `UniquePairs` writes them.
        highest: the highest ID of the partition.
    """
    order = np.lexsort((records["place"], records["low"], records["high"]))
    records = records[order]
    new = np.ones(len(records), np.bool_)
    new[1:] = (records["high"][1:] != records["high"][:-1]) | (
        records["low"][1:] != records["low"][:-1]
    )
    unique = records[new]
    plain = (unique["high"] >> np.uint64(1)).astype(np.int64)
    steps = np.arange(len(plain), dtype=np.int64)
    # Strictly ascending from below, then pushed back below the partition's end.
    free = np.maximum.accumulate(plain - steps) + steps
    free = np.minimum(free, highest - steps[::-1])
    moved = free != plain
    return Resolved(
        records["place"][~new],
        dict(zip(unique["place"][moved].tolist(), free[moved].tolist(), strict=True)),
    )
