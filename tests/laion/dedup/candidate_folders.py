"""Candidate folders of made-up pairs, in the layout of laion extract."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.pair_digest import pair_digest
from laion.data.candidate import CANDIDATE_SCHEMA, Candidate
from laion.data.partition import PARTITION_COUNT, PARTITIONS_KEY, partition_of


def rows(count: int, seed: int, wat: str, pool: int) -> list[Candidate]:
    """Rows of one WAT file: pairs drawn from a pool of `pool`, of hosts that come in bursts."""
    draw = random.Random(seed)
    made: list[Candidate] = []
    while len(made) < count:
        host = f"host{draw.randrange(pool // 7)}.example"
        for _ in range(draw.randrange(1, 8)):
            number = draw.randrange(pool)
            url = f"https://{host if number % 2 else 'cdn.example'}/{number}.jpg"
            text = f"text {number % 1000}"
            page = f"http://{host}/{len(made)}"
            made.append(Candidate(url, text, "?", "en", "en", page, wat, pair_digest(url, text)))
    return made[:count]


def write_folder(folder: Path, parts: Sequence[Sequence[Candidate]]) -> Path:
    """A committed folder, one file each part."""
    folder.mkdir(parents=True)
    for number, part in enumerate(parts):
        by_partition: list[list[Candidate]] = [[] for _ in range(PARTITION_COUNT)]
        for row in part:
            by_partition[partition_of(row.digest)].append(row)
        there = [p for p in range(PARTITION_COUNT) if by_partition[p]]
        schema = CANDIDATE_SCHEMA.with_metadata({PARTITIONS_KEY: json.dumps(there)})
        with pq.ParquetWriter(folder / f"{number:05d}.parquet", schema) as writer:
            for partition in there:
                columns = zip(*by_partition[partition], strict=True)
                arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
                writer.write_table(pa.table(arrays, schema=schema))
        (folder / f"{number:05d}_stats.json").write_text("{}")
    return folder


def read_rows(folder: Path) -> list[list[Candidate]]:
    """The rows of each part of a folder, in order."""
    return [
        [Candidate(*row.values()) for row in pq.read_table(path).to_pylist()]
        for path in sorted(folder.glob("[0-9]*.parquet"))
    ]
