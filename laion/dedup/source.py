"""Candidate folders as input: their committed files, in the order that decides which pair is first.

The order is that of the WAT files' names, whatever folder and part they are in; inside a WAT file
it is the one of the rows. So the result depends neither on workers nor on how folders are named.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from img2ds.core.naming import committed_shards, shard_name
from img2ds.engine.shard_output import DIGITS
from img2ds.storage import InputFile, OutputFolder, find_inputs, open_seekable
from laion.data.candidate_columns import CANDIDATE_SCHEMA, PARTITION_COUNT, PARTITIONS_KEY

#: Footers that are read at once: it is waiting, not work, where they are remote.
PARALLEL_FILES = 16


@dataclass(frozen=True, slots=True)
class CandidateFile:
    """One part of an extract: `rows` by partition, and the first of its WAT files' names."""

    file: InputFile
    wat: str
    rows: tuple[int, ...]


def find_candidates(folders: Sequence[str]) -> list[CandidateFile]:
    """The committed files of candidate folders, in order.

    Raises:
        UsageError: a folder has none, is given twice, or a file holds something else.
    """
    files: list[InputFile] = []
    for folder in folders:
        there = OutputFolder.open(folder)
        committed = {
            f"{shard_name(number, DIGITS)}.parquet" for number in committed_shards(there.names())
        }
        found = [file for file in find_inputs(folder, [".parquet"]) if file.name in committed]
        if not found:
            raise UsageError(f"{folder} has no committed parts: make them with laion extract")
        files += found
    twice = {file.path for file in files}
    if len(twice) < len(files):
        raise UsageError("a folder is given twice: all its pairs would count as duplicates")
    with ThreadPoolExecutor(PARALLEL_FILES) as pool:
        candidates = list(pool.map(_look, files))
    return sorted(candidates, key=lambda candidate: (candidate.wat, candidate.file.path))


def read_partition(
    paths: Sequence[str], partition: int, columns: Sequence[str], rows: int
) -> Iterator[pa.Table]:
    """The rows of one partition in order, `rows` or a little more at once.

    Raises:
        UsageError, OSError, pyarrow.ArrowException: a file is gone or damaged.
    """
    held: list[pa.Table] = []
    count = 0
    for path in paths:
        source = open_seekable(path)
        with closing(pq.ParquetFile(source)) as file:
            groups = [n for n, number in enumerate(_partitions(file, path)) if number == partition]
            for group in groups:
                table = file.read_row_group(group, columns=list(columns), use_threads=False)
                table = table.replace_schema_metadata(None)
                held.append(table)
                count += table.num_rows
                if count >= rows:
                    yield pa.concat_tables(held)
                    held, count = [], 0
        if not isinstance(source, str):
            source.close()
    if count:
        yield pa.concat_tables(held)


def _look(file: InputFile) -> CandidateFile:
    source = open_seekable(file.path)
    try:
        with closing(pq.ParquetFile(source)) as parquet:
            if not parquet.schema_arrow.remove_metadata().equals(CANDIDATE_SCHEMA):
                raise UsageError(
                    f"{file.path} is no candidate file: it lacks columns of laion extract, or has "
                    f"others ({', '.join(parquet.schema_arrow.names)})"
                )
            rows = [0] * PARTITION_COUNT
            for group, partition in enumerate(_partitions(parquet, file.path)):
                rows[partition] += parquet.metadata.row_group(group).num_rows
            return CandidateFile(file, _first_wat(parquet), tuple(rows))
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read {file.path}: {error}") from None
    finally:
        if not isinstance(source, str):
            source.close()


def _partitions(file: pq.ParquetFile, path: str) -> list[int]:
    """The partition of each row group. Raises UsageError."""
    try:
        numbers = json.loads((file.metadata.metadata or {})[PARTITIONS_KEY])
        if len(numbers) != file.num_row_groups or not set(numbers) <= set(range(PARTITION_COUNT)):
            raise ValueError
    except (KeyError, ValueError, TypeError):
        raise UsageError(
            f"{path} does not say which partition its row groups are of: it is not of this "
            "version of laion extract"
        ) from None
    return list(numbers)


def _first_wat(file: pq.ParquetFile) -> str:
    column = CANDIDATE_SCHEMA.get_field_index("wat")
    for group in range(file.num_row_groups):
        statistics = file.metadata.row_group(group).column(column).statistics
        if statistics is not None and statistics.has_min_max:
            return str(statistics.min)
        table = file.read_row_group(group, columns=["wat"])
        if table.num_rows:
            return str(table["wat"][0])
    return ""
