"""Partitions of candidates: equal pairs of all files meet in one partition.

The top bits of a digest are its partition. A row group holds rows of one partition, and the
file's schema metadata lists the partition of each row group.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow.parquet as pq

#: Six bits: a crawl of 90 000 WAT files with 100 000 kept rows each gives 64 partitions of 140 M
#: rows (a bloom filter of 250 MB at 1e-3, 2.3 GB of digests when sorted exactly), and row groups
#: of 1600 rows, some 250 kB compressed: large enough that the bytes of a range request cost more
#: than the request. Eight bits would give row groups of 60 kB and footers of 300 kB.
PARTITION_BITS = 6
PARTITION_COUNT = 1 << PARTITION_BITS

#: Key of the schema metadata: a JSON list with the partition of each row group.
PARTITIONS_KEY = b"laion.partitions"


def partition_of(digest: bytes) -> int:
    """Return the partition of a pair."""
    return digest[0] >> (8 - PARTITION_BITS)


def partitions_metadata(partitions: Sequence[int]) -> dict[bytes, bytes]:
    """Return the schema metadata for row groups of these partitions."""
    return {PARTITIONS_KEY: json.dumps(list(partitions)).encode()}


def row_group_partitions(file: pq.ParquetFile) -> list[int]:
    """Return the partition of each row group. Raises ValueError when the file does not say."""
    try:
        partitions = json.loads((file.metadata.metadata or {})[PARTITIONS_KEY])
        known = set(partitions) <= set(range(PARTITION_COUNT))
    except (KeyError, TypeError) as error:
        raise ValueError from error
    if len(partitions) != file.num_row_groups or not known:
        raise ValueError
    return list(partitions)
