"""Compares the rows of some buckets: the second pass of `laion dedup_images`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from img2ds.engine.shard_output import ShardOutput
from laion.dedup_images.comparison import Comparison, Found, Signatures
from laion.dedup_images.links import Links, best_links, link_type, make_links, write_links
from laion.dedup_images.one_thread import one_thread
from laion.dedup_images.scattered import BATCH_SHIFT, BucketReader, Records, record_type

#: Bytes of rows that are read at once. Malloc keeps arrays below 32 MB for the next block; larger
#: ones are pages that the system fills with zeros.
BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class CompareTask:
    """The buckets of a range of pieces, of all batches.

    Attributes:
        pieces: the first piece, and the one after the last.
        by: the number of the comparison, lower ones being more certain.
        batches: batches of rows.
        more: the numbers of those of evaluation images.
    """

    shard_id: int
    folder: str
    batches: int
    more: range
    pieces: tuple[int, int]
    comparison: Comparison
    by: int
    key_bytes: int


class _Bucket:
    """One bucket: what is kept of it, and which rows it has.

    Args:
        border: the first place of evaluation images.
    """

    def __init__(self, comparison: Comparison, border: np.uint64) -> None:
        self._leaders = comparison.leaders()
        self._evaluation = comparison.leaders()
        self._border = border
        self._records: list[Records] = []
        self._images: list[Records] = []

    def add(self, records: Records, signatures: Signatures) -> Links:
        """Add rows, the preferred ones first, and return the links of those that are duplicates.

        Evaluation images are preferred to all rows.
        """
        first = int((records["place"] >= self._border).sum())
        if first:
            self._images.append(records[:first].copy())
            self._evaluation.keep(signatures[:first])
            records, signatures = records[first:], signatures[first:]
        if not self._images:
            return self._add(records, signatures)
        found = self._evaluation.match(signatures)
        links = make_links(records, found, np.concatenate(self._images))
        free = found.leader < 0
        return np.concatenate([links, self._add(records[free], signatures[free])])

    def _add(self, records: Records, signatures: Signatures) -> Links:
        # Copies, so that a whole block does not stay for a few rows of it.
        self._records.append(records.copy())
        found = self._leaders.add(signatures)
        if (found.leader < 0).all():
            return make_links(records[:0], Found(found.leader[:0], found.closeness[:0]), records)
        self._records = [np.concatenate(self._records)]
        return make_links(records, found, self._records[0])


def compare(task: CompareTask, shard: ShardOutput) -> None:
    """Compare the rows of a range of buckets; writes a link for each duplicate."""
    links = [np.empty(0, link_type(task.key_bytes))]
    with one_thread():
        for found, rows in _compare(task):
            links.append(found)
            shard.counts.successes += rows - len(found)
            shard.counts.drop(task.comparison.reason, len(found))
            shard.report_progress()
    joined = np.concatenate(links)
    joined["by"] = task.by
    write_links(shard, best_links(joined, task.batches), task.batches)


def _compare(task: CompareTask) -> Iterator[tuple[Links, int]]:
    """Yield the links of each bucket, or of a part of it, and the rows that were compared."""
    comparison = task.comparison
    types = (record_type(task.key_bytes), comparison.dtype)
    size = BLOCK_BYTES // sum(dtype.itemsize for dtype in types)
    border = np.uint64(task.batches) << BATCH_SHIFT
    last, bucket = -1, _Bucket(comparison, border)
    batches = [*range(task.batches), *task.more]
    with BucketReader(task.folder, batches, task.pieces, types) as reader:
        for records, stored in reader.blocks(size):
            signatures = comparison.prepare(stored)
            numbers = records["bucket"]
            starts = np.flatnonzero(np.diff(numbers, prepend=np.uint32(numbers[0] ^ 1)))
            ends = np.append(starts[1:], len(numbers))
            small = ends - starts <= comparison.small
            # These may have rows in the block before, and in the next one.
            small[[0, -1]] = False
            if small.any():
                chosen = np.repeat(small, ends - starts)
                yield _of_small(comparison, records[chosen], signatures[chosen])
            for start, end in zip(starts[~small], ends[~small], strict=True):
                if numbers[start] != last:
                    last, bucket = numbers[start], _Bucket(comparison, border)
                yield bucket.add(records[start:end], signatures[start:end]), int(end - start)


def _of_small(
    comparison: Comparison, records: Records, signatures: Signatures
) -> tuple[Links, int]:
    """Return the links of whole small buckets, and their rows."""
    found = comparison.small_buckets(signatures, records["bucket"].astype(np.intp))
    return make_links(records, found, records), len(records)
