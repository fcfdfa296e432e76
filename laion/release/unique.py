"""Finds unique pairs and gives them SAMPLE_IDs, in partitions on disk, one at a time.

A pair is its URL and its text. Of equal pairs the first one counts. This needs 24 bytes of disk a
pair, and some 60 bytes of memory a pair of one partition.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError
from laion.data.digest import Words

#: Pairs of a partition: working memory is then some 120 MB.
PARTITION_PAIRS = 2_000_000
#: Upper limit of partitions; each is an open file.
MAX_PARTITIONS = 512
#: Bytes buffered for a partition.
_BUFFER = 1 << 16

RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("place", "<u8")])

Records = npt.NDArray[Any]


@contextmanager
def scratch_folder(tmp_dir: str | None) -> Iterator[str]:
    """Make a local folder, in `tmp_dir` or the system's, for the length of a `with` block.

    Raises:
        UsageError: it cannot be created.
    """
    try:
        if tmp_dir is not None:
            os.makedirs(tmp_dir, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix="laion-", dir=tmp_dir)
    except OSError as error:
        raise UsageError(f"cannot write to {tmp_dir or 'the temporary folder'}: {error}") from None
    with folder as path:
        yield path


def partition_count(pairs: int) -> int:
    """Return how many partitions so many pairs need, a power of two."""
    count = 1
    while count * PARTITION_PAIRS < pairs and count < MAX_PARTITIONS:
        count *= 2
    return count


def sample_ids(digests: Words) -> npt.NDArray[np.int64]:
    """Return the first 63 bits of digests [n, 2]: their SAMPLE_IDs, but for collisions."""
    bits: npt.NDArray[np.uint64] = digests[:, 0] >> np.uint64(1)
    return bits.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The result of one partition.

    Attributes:
        repeated: places of pairs that occur at an earlier place already.
        moved: SAMPLE_IDs by place, where another pair has the ID that the digest gives.
    """

    repeated: npt.NDArray[np.uint64]
    moved: dict[int, int]


class UniquePairs:
    """Takes the digests of pairs at numbered places, and finds the repeated ones.

    Args:
        folder: an existing local folder for the partitions.
        expected: the number of pairs, at most.
    """

    def __init__(self, folder: str, expected: int) -> None:
        count = partition_count(expected)
        self._bits = count.bit_length() - 1
        self._paths = [os.path.join(folder, f"{number}.pairs") for number in range(count)]
        self._files = [open(path, "wb", buffering=_BUFFER) for path in self._paths]  # noqa: SIM115

    def add(self, places: npt.NDArray[np.uint64], digests: Words) -> None:
        """Add the pairs at `places`, which are above all places before. Raises OSError."""
        records = np.empty(len(places), RECORD)
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
        """Yield the result of each partition, and remove its file. Raises OSError."""
        self.close()
        for number, path in enumerate(self._paths):
            records = np.fromfile(path, RECORD)
            os.unlink(path)
            if len(records):
                # An ID begins with the bits of its partition, so partitions do not share IDs.
                width = 63 - self._bits
                yield resolve(records, ((number + 1) << width) - 1)

    def close(self) -> None:
        """Close the files. Raises OSError when the disk is full."""
        for file in self._files:
            file.close()


def resolve(records: Records, highest: int) -> Resolved:
    """Find the repeated pairs among `records`, and give colliding IDs another value.

    Colliding IDs move up to the next free one, in the order of the digests. The ID of a pair
    therefore depends only on the set of pairs, not on their order or on the run.

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
    # Strictly ascending from below, then pushed back under the upper end of the partition.
    # Both before the steps are added: the highest ID of all is the highest int64.
    free = np.minimum(np.maximum.accumulate(plain - steps), highest - len(plain) + 1) + steps
    moved = free != plain
    return Resolved(
        records["place"][~new],
        dict(zip(unique["place"][moved].tolist(), free[moved].tolist(), strict=True)),
    )
