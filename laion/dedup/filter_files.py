"""The filter files of earlier runs of `laion dedup`: which there are, their sizes and contents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.core.naming import committed_shards, stats_name
from img2ds.engine.shard_output import DIGITS
from img2ds.storage import OutputFolder, open_seekable
from laion.data.partition import PARTITION_COUNT
from laion.dedup.bloom import BloomFilter, FilterSize, filter_name, merged, read_header

#: Rows of each partition from which on chance is known well, and how far above what chance gives
#: the rows of one count as repeated.
ENOUGH_ROWS, SKEWED = 1000, 1.25


def filter_size(path: str) -> FilterSize:
    """Return the size of the filter in a file. Raises UsageError as `filter_header`."""
    header = filter_header(path)
    return FilterSize(header["blocks"], header["expected"], header["rate"])


def common_size(paths: Sequence[str]) -> FilterSize | None:
    """Return the size of the filters in files, of earlier runs; None without any.

    Raises:
        UsageError: there are several.
    """
    sizes = [filter_size(path) for path in paths]
    if len({size.blocks for size in sizes}) > 1:
        raise UsageError(
            "the filters of --bloom are of several sizes: merge those of one --expected and one "
            "--false_positive_rate"
        )
    return sizes[0] if sizes else None


def begun_size(place: str) -> FilterSize | None:
    """Return the size of the filters in an output folder that a run has begun; None for none."""
    folder = OutputFolder.open(place)
    committed = committed_shards(folder.names())
    name = filter_name(min(committed, default=0))
    return filter_size(f"{folder.path}/{name}") if committed and folder.exists(name) else None


def fitting_size(rows: Sequence[int], expected: int | None, rate: float) -> FilterSize:
    """Return the size of the filters of a first run.

    Args:
        rows: of each partition.
        expected: pairs of all partitions; by default those there are.
        rate: share of new pairs that are dropped wrongly once all are added.
    """
    if expected is None:
        return FilterSize.fit(_most_pairs(rows), rate)
    # Digests fall into partitions by chance: five standard deviations hold for all of them.
    mean = expected / PARTITION_COUNT
    return FilterSize.fit(math.ceil(mean + 5 * math.sqrt(mean)), rate)


def _most_pairs(rows: Sequence[int]) -> int:
    """Return the pairs that a partition has at most.

    One that has far more rows than the others has the same pairs again and again: pairs fall into
    partitions by chance, so that each has as many as the one with the fewest rows, within five
    standard deviations of both.
    """
    least, most = min(rows), max(*rows, 1)
    bound = math.ceil(least + 10 * math.sqrt(least))
    return bound if least >= ENOUGH_ROWS and most > SKEWED * bound else most


def merged_filter(paths: Sequence[str]) -> BloomFilter | None:
    """Read filters of one size and merge them into one; None without any."""
    return merged([BloomFilter.read(open_seekable(path)) for path in paths]) if paths else None


def filters_of(place: str) -> tuple[str, ...]:
    """Return the newest filter of each partition in the output folder of an earlier run.

    Raises:
        UsageError: one is missing.
    """
    folder = OutputFolder.open(place)
    committed = committed_shards(folder.names())
    last = (max(committed, default=0) // PARTITION_COUNT) * PARTITION_COUNT
    newest = range(last, last + PARTITION_COUNT)
    if not committed.issuperset(newest):
        raise UsageError(f"--bloom: {place} is not a finished output folder of laion dedup")
    return tuple(f"{folder.path}/{filter_name(number)}" for number in newest)


def filters_before(folder: OutputFolder, first: int) -> tuple[str, ...]:
    """Return the filters of the segment before the one that starts at `first`, with `extend`.

    Raises:
        UsageError: that segment is not finished.
    """
    before = range(first - PARTITION_COUNT, first)
    missing = [n for n in before if not folder.exists(stats_name(n, DIGITS))]
    if missing:
        raise UsageError(
            f"{folder.path} lacks shard {missing[0]:0{DIGITS}d} of the input before this one: "
            "finish that first, with its own --input"
        )
    return tuple(f"{folder.path}/{filter_name(number)}" for number in before)


def filter_header(path: str) -> dict[str, Any]:
    """Return the header of a filter's file. Raises UsageError: it is not one."""
    source = open_seekable(path)
    try:
        return read_header(source)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    finally:
        if not isinstance(source, str):
            source.close()
