"""`laion group`: candidate folders in, one row a URL out, with all of its texts.

Two passes, each of tasks that any worker can do: input files are split by the hash of the URL, then
each partition becomes a shard. What lies between is in the output folder until that is finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.parquet as pq

from img2ds.core.naming import committed_shards, shard_name
from img2ds.core.state import WORK
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import DIGITS, ShardOutput
from img2ds.report.console import Labels
from img2ds.storage import OutputFolder
from laion.data.candidate import GROUPED_SCHEMA
from laion.dedup.candidate_files import find_candidates
from laion.dedup.inspection import CandidateFile
from laion.dedup.shuffle import Shuffle
from laion.group.gather import gather
from laion.group.options import GroupOptions
from laion.group.scatter import (
    ScatterTask,
    batches,
    make_scattered,
    partition_count,
    read_scattered,
)
from laion.stage import StageReport, StageSpec, check_stage, file_fingerprint, open_stage

LABELS = Labels("shard", "rows", "rows/s", "URLs")
#: Where the rows are by the hash of their URL.
BETWEEN = f"{WORK}/urls"
#: Rows of a row group: a shard of img2ds is 10,000, and reads whole row groups.
GROUP_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Partition:
    """Shard `shard_id` is made of partition `number`."""

    shard_id: int
    number: int


@dataclass(frozen=True, slots=True)
class Gather:
    """Makes a shard of the second pass: see `SequentialWorker.make`."""

    options: GroupOptions
    files: tuple[str, ...]

    def __call__(self, task: Partition, shard: ShardOutput) -> None:
        rows, reasons = gather(read_scattered(self.files, task.number), self.options.max_texts)
        shard.counts.successes += rows.num_rows
        shard.counts.reasons.update(reasons)
        shard.counts.metrics["texts"] = len(rows["texts"].combine_chunks().flatten())
        shuffle = Shuffle(self.options.shuffle_rows, self.options.seed)
        with pq.ParquetWriter(
            shard.path(f"{shard.name}.parquet"), GROUPED_SCHEMA, compression="zstd",
            compression_level=1,
        ) as writer:  # fmt: skip
            for windows in (shuffle.add(rows, np.ones(rows.num_rows, np.bool_)), shuffle.flush()):
                for window in windows:
                    writer.write_table(window, GROUP_ROWS)


def run(options: GroupOptions) -> StageReport:
    """Group what is not grouped yet.

    Raises:
        UsageError: something about it cannot work; nothing was done.
    """
    candidates = find_candidates(options.input, options.output_folder)
    partitions = partition_count(sum(sum(candidate.rows) for candidate in candidates))
    spec = StageSpec(
        stage="group",
        options=options,
        fingerprint=_fingerprint(candidates),
        shard_count=partitions,
        labels=LABELS,
    )
    check_stage(spec)
    files: tuple[str, ...] = ()
    if not _is_done(options, OutputFolder.open(options.output_folder), partitions):
        report, files = _scatter(options, candidates, partitions)
        if report.exit_code:
            return report
    with open_stage(spec) as build:
        first = build.first_shard
        tasks = [Partition(first + number, number) for number in range(partitions)]
        worker = SequentialWorker(build.folder, Gather(options, files))
        if build.run(worker, tasks):
            build.folder.remove([BETWEEN])
    return build.report


def _fingerprint(candidates: Sequence[CandidateFile]) -> dict[str, object]:
    return file_fingerprint("candidates", [candidate.file for candidate in candidates])


def _is_done(options: GroupOptions, folder: OutputFolder, partitions: int) -> bool:
    if options.incremental_mode == "overwrite":
        return False
    return committed_shards(folder.names()).issuperset(range(partitions))


def _scatter(
    options: GroupOptions, candidates: Sequence[CandidateFile], partitions: int
) -> tuple[StageReport, tuple[str, ...]]:
    """Do the first pass, and return the files that it wrote."""
    between = f"{OutputFolder.open(options.output_folder).path}/{BETWEEN}"
    together = batches([(each.file.path, sum(each.rows)) for each in candidates])
    # Flags of the second pass change nothing here.
    plain = GroupOptions(input=options.input, output_folder=between)
    spec = StageSpec(
        stage="group: by URL",
        options=replace(
            options, output_folder=between, max_texts=plain.max_texts, seed=plain.seed,
            shuffle_rows=plain.shuffle_rows,
        ),
        fingerprint=_fingerprint(candidates),
        shard_count=len(together),
        labels=Labels("file", "rows", "rows/s", "read"),
    )  # fmt: skip
    with open_stage(spec) as build:
        first = build.first_shard
        tasks = [ScatterTask(first + n, paths, partitions) for n, paths in enumerate(together)]
        build.run(SequentialWorker(build.folder, make_scattered), tasks)
    names = (shard_name(task.shard_id, DIGITS) for task in tasks)
    return build.report, tuple(f"{between}/{name}.parquet" for name in names)
