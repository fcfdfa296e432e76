"""Compares the rows of some buckets: the second pass of `laion dedup_images`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from img2ds.engine.shard_output import ShardOutput
from laion.dedup_images.comparison import Comparison, LeaderSet, Signatures
from laion.dedup_images.links import Links, link_type, write_links
from laion.dedup_images.one_thread import one_thread
from laion.dedup_images.scattered import BucketReader, Records, record_type

#: Rows read at once: 67 MB of 512 float16 numbers.
BLOCK = 65_536


@dataclass(frozen=True, slots=True)
class CompareTask:
    """The buckets of the pieces `first` to `last`, without the latter, of all batches."""

    shard_id: int
    folder: str
    batches: int
    first: int
    last: int
    comparison: Comparison
    key_bytes: int


class _Bucket:
    """One bucket: what is kept of it, and which rows it has."""

    def __init__(self, leaders: LeaderSet) -> None:
        self._leaders = leaders
        self._records: list[Records] = []

    def add(self, records: Records, signatures: Signatures) -> Links:
        """Add rows, the preferred ones first, and return the links of those that are duplicates."""
        # Copies, so that a whole block does not stay for a few rows of it.
        self._records.append(records[["place", "key"]].copy())
        found = self._leaders.add(signatures)
        duplicates = np.flatnonzero(found.leader >= 0)
        links = np.empty(len(duplicates), link_type(records.dtype["key"].itemsize))
        if len(duplicates):
            self._records = [np.concatenate(self._records)]
            leaders = self._records[0][found.leader[duplicates]]
            links["place"] = records["place"][duplicates]
            links["leader"], links["key"] = leaders["place"], leaders["key"]
            links["closeness"] = found.closeness[duplicates]
        return links


def compare(task: CompareTask, shard: ShardOutput) -> None:
    """Compare the rows of a range of buckets; writes a link for each duplicate."""
    links: list[Links] = []
    with one_thread():
        for found, rows in _compare(task):
            links.append(found)
            shard.counts.successes += rows - len(found)
            shard.counts.drop(task.comparison.reason, len(found))
            shard.report_progress()
    joined = np.concatenate([np.empty(0, link_type(task.key_bytes)), *links])
    write_links(shard, joined[np.argsort(joined["place"], kind="stable")], task.batches)


def _compare(task: CompareTask) -> Iterator[tuple[Links, int]]:
    """Yield the links of each bucket, or of a part of it, and the rows that were compared."""
    types = (record_type(task.key_bytes), task.comparison.dtype)
    last, bucket = -1, _Bucket(task.comparison.leaders())
    with BucketReader(task.folder, task.batches, task.first, task.last, types) as reader:
        for records, signatures in reader.blocks(BLOCK):
            numbers = records["bucket"]
            starts = np.flatnonzero(np.diff(numbers, prepend=np.uint32(numbers[0] ^ 1)))
            for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
                if numbers[start] != last:
                    last, bucket = numbers[start], _Bucket(task.comparison.leaders())
                yield bucket.add(records[start:end], signatures[start:end]), int(end - start)
