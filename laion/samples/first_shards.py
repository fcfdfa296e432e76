"""The first shards of a dataset, for reports: samples, and the rows that folders have of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from laion.data.embedding_folder import open_embedding_folder
from laion.samples.sample import Sample
from laion.samples.source import find_shards

#: Shards that are looked at. A part of a release holds at least one whole shard, so as many of its
#: parts hold the same pairs.
SHARDS = 16

_COLUMNS = ("key", "url", "similarity", "nsfw")


def first_samples(place: str, each: int) -> Iterator[Sample]:
    """Yield the first `each` samples of each of the first shards. Raises UsageError, OSError."""
    for shard in find_shards(place).shards[:SHARDS]:
        yield from islice(shard.samples(), each)


def rows_of(place: str, keys: pa.Array) -> Iterator[dict[str, Any]]:
    """Yield what the first shards of an embedding folder say of samples with these keys.

    Raises:
        UsageError, OSError, pa.ArrowException: the folder cannot be read.
    """
    for shard in open_embedding_folder(place).shards[:SHARDS]:
        there = set(shard.schema().names)
        if "key" in there:
            table = shard.table([name for name in _COLUMNS if name in there])
            wanted = pc.is_in(table.column("key").cast(pa.string()), value_set=keys)
            yield from table.filter(wanted).to_pylist()
