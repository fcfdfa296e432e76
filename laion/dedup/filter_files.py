"""The filter files of earlier runs of `laion dedup`: which there are, their sizes and contents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.core.naming import committed_shards, stats_name
from img2ds.engine.shard_output import DIGITS
from img2ds.storage import OutputFolder, open_seekable
from laion.data.partition import PARTITION_COUNT
from laion.dedup.bloom import BloomFilter, FilterSize, filter_name, merged, read_header


def filter_size(path: str) -> FilterSize:
    """Return the size of the filter in a file. Raises UsageError as `filter_header`."""
    header = filter_header(path)
    return FilterSize(header["blocks"], header["expected"], header["rate"])


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
