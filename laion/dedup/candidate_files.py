"""Finds the committed files of candidate folders, in the order that decides which pair is first.

Files are ordered by the names of their WAT files, whatever folder or shard they are in; rows keep
their order in the file. The result therefore depends neither on the number of workers nor on the
names of folders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from img2ds.core.naming import committed_shards, shard_name
from img2ds.engine.shard_output import DIGITS
from img2ds.storage import InputFile, OutputFolder, find_inputs
from laion.data.candidate import CANDIDATE_SCHEMA
from laion.data.partition import PARTITION_COUNT
from laion.dedup.partition_reader import CandidateSource, Place, opened, places_of

#: The column that files are in order of.
WAT = "wat"


@dataclass(frozen=True, slots=True)
class CandidateFile:
    """A shard of candidates: its rows by partition, and the name of its first WAT file."""

    file: InputFile
    wat: str
    rows: tuple[int, ...]


def find_candidates(folders: Sequence[str], output_folder: str) -> list[CandidateFile]:
    """Return the committed files of candidate folders, in order.

    Raises:
        UsageError: a folder has none, is given twice or is the output folder, or a file has other
            content.
    """
    output = OutputFolder.open(output_folder).path
    files: list[InputFile] = []
    for folder in folders:
        committed = {
            f"{shard_name(number, DIGITS)}.parquet"
            for number in committed_shards(OutputFolder.open(folder).names())
        }
        found = [file for file in find_inputs(folder, [".parquet"]) if file.name in committed]
        if not found:
            raise UsageError(f"{folder} has no committed shards: run laion extract, which makes it")
        files += found
    if len({file.path for file in files}) < len(files):
        raise UsageError(
            "a folder is given twice, and all its pairs would be duplicates: name it once"
        )
    if any(file.path.rpartition("/")[0] == output for file in files):
        raise UsageError(
            f"{output} is an input too, whose files are replaced: choose another --output_folder"
        )
    return sorted(inspect(files), key=lambda candidate: (candidate.wat, candidate.file.path))


def inspect(files: Sequence[InputFile]) -> list[CandidateFile]:
    """Read the footers of files. Raises UsageError: one has other content, or cannot be read."""
    sources = opened(files, _place_of_wat)
    return [_inspect(file, sources) for file in files]


def _inspect(file: InputFile, sources: Iterator[CandidateSource]) -> CandidateFile:
    try:
        with closing(next(sources)) as source:
            parquet = source.parquet
            if not parquet.schema_arrow.remove_metadata().equals(CANDIDATE_SCHEMA):
                raise UsageError(
                    f"{file.path} is not a candidate file of laion extract; its columns are: "
                    f"{', '.join(parquet.schema_arrow.names)}"
                )
            rows = [0] * PARTITION_COUNT
            for group, partition in enumerate(source.partitions()):
                rows[partition] += parquet.metadata.row_group(group).num_rows
            return CandidateFile(file, _first_wat(parquet), tuple(rows))
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read {file.path}: {error}") from None


def _place_of_wat(source: CandidateSource) -> list[Place]:
    """Return where the name of the first WAT file is, unless the footer has it."""
    metadata = source.parquet.metadata
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if WAT not in source.parquet.schema_arrow.names or _least_wat(group) is not None:
            return []
        if group.num_rows:
            return places_of(source, [number], [WAT])
    return []


def _first_wat(file: pq.ParquetFile) -> str:
    for group in range(file.num_row_groups):
        least = _least_wat(file.metadata.row_group(group))
        if least is not None:
            return least
        table = file.read_row_group(group, columns=[WAT])
        if table.num_rows:
            return str(table[WAT][0])
    return ""


def _least_wat(group: pq.RowGroupMetaData) -> str | None:
    """Return what the footer says is the first WAT file of a row group."""
    statistics = group.column(CANDIDATE_SCHEMA.get_field_index(WAT)).statistics
    return str(statistics.min) if statistics is not None and statistics.has_min_max else None
