"""Reads the footers of candidate files: the rows of each partition, and the first WAT file.

A footer on S3 takes 3 ms of CPU. Those of many files are read by all cores of this machine.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from img2ds.core.naming import shard_name
from img2ds.engine.build import BuildSpec, open_build
from img2ds.engine.cores import usable_cores
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import DIGITS, ShardOutput
from img2ds.report.console import Labels, Verbosity
from img2ds.storage import InputFile
from laion.data.candidate import CANDIDATE_SCHEMA
from laion.data.partition import PARTITION_COUNT
from laion.dedup.partition_reader import CandidateSource, Place, opened, places_of
from laion.stage import StageReport

#: The column that files are in order of.
WAT = "wat"
#: Files of a task: a second or two.
TASK_FILES = 512
#: Files from which on other processes help: they take a second to start.
MANY = 4096


@dataclass(frozen=True, slots=True)
class CandidateFile:
    """A shard of candidates: its rows by partition, and the name of its first WAT file."""

    file: InputFile
    wat: str
    rows: array[int]


@dataclass(frozen=True, slots=True)
class Inspection:
    """A task: some of the files."""

    shard_id: int
    files: tuple[InputFile, ...]


def inspect(files: Sequence[InputFile]) -> list[CandidateFile]:
    """Read the footers of files, of many in several processes.

    Raises:
        UsageError: one has other content, or cannot be read.
    """
    if len(files) < MANY or usable_cores() == 1:
        return _inspect_here(files)
    pieces = [
        tuple(files[start : start + TASK_FILES]) for start in range(0, len(files), TASK_FILES)
    ]
    with tempfile.TemporaryDirectory(prefix="laion-") as scratch:
        _run(scratch, [Inspection(number, piece) for number, piece in enumerate(pieces)])
        found: list[CandidateFile] = []
        for number, piece in enumerate(pieces):
            with open(f"{scratch}/{shard_name(number, DIGITS)}.json", "rb") as file:
                told = orjson.loads(file.read())
            found += [
                CandidateFile(file, wat, array("I", rows))
                for file, (wat, rows) in zip(piece, told, strict=True)
            ]
    return found


def _run(scratch: str, tasks: Sequence[Inspection]) -> None:
    labels = Labels("batch", "files", "files/s", "read")
    report = StageReport(labels=labels, stage="reading footers")
    spec = BuildSpec(
        output_folder=scratch, lock=False, processes_count=usable_cores(),
        verbosity=Verbosity(shards=False, logger="laion"),
    )  # fmt: skip
    with open_build(spec, report) as build:
        build.console.note(f"reading footers: {len(tasks):,} batches", dated=True)
        build.run(SequentialWorker(build.folder, _make), tasks)
    if report.interrupted:
        raise KeyboardInterrupt
    problems = [*report.failed.values(), *filter(None, [report.stopped])]
    if problems:
        raise UsageError(str(problems[0]))


def _make(task: Inspection, shard: ShardOutput) -> None:
    told = [(found.wat, found.rows.tolist()) for found in _inspect_here(task.files)]
    with open(shard.path(f"{shard.name}.json"), "wb") as file:
        file.write(orjson.dumps(told))
    shard.counts.successes += len(told)


def _inspect_here(files: Sequence[InputFile]) -> list[CandidateFile]:
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
            return CandidateFile(file, _first_wat(parquet), array("I", rows))
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
