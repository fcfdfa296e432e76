"""`laion dedup`: candidate folders in, the same columns out, each pair of URL and text once.

A task is one partition of the digests over all input files. Each shard is a parquet file and the
filter that has seen it; one commit marker covers both, so no filter exists without its rows.
Filters are never changed in place: the next crawl's shard reads them and writes its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from img2ds.config.flags import at_least, flag
from img2ds.core.failure import UsageError
from img2ds.core.naming import committed_shards
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import ShardOutput
from img2ds.report.units import percent
from img2ds.report.units import size as in_bytes
from img2ds.storage import InputFile, OutputFolder
from laion.data.candidate import CANDIDATE_SCHEMA
from laion.data.digest import digest_words
from laion.data.partition import PARTITION_COUNT, partitions_metadata
from laion.dedup.bloom import BloomFilter, FilterSize, filter_name
from laion.dedup.candidate_files import find_candidates
from laion.dedup.deduplicator import BloomDeduplicator, ExactDeduplicator
from laion.dedup.filter_files import (
    begun_size,
    common_size,
    filter_header,
    filters_before,
    filters_of,
    fitting_size,
    merged_filter,
)
from laion.dedup.inspection import CandidateFile
from laion.dedup.partition_reader import REPEATED, read_partition
from laion.dedup.shuffle import Shuffle
from laion.stage import StageOptions, StageReport, StageSpec, file_fingerprint, open_stage

#: Rows read together: some 15 MB.
READ_ROWS = 32_768
#: Rows of a row group of the output: a shard of img2ds is 10 000, and reads whole row groups.
GROUP_ROWS = 50_000
#: Why a row is not kept.
DUPLICATE = "duplicate"
FILTERS = "filters"
#: How far a filter's rate may exceed the one asked for before a note says so.
TOLERANCE = 1.05


@dataclass(frozen=True, kw_only=True)
class DedupOptions(StageOptions):
    """The flags of `laion dedup`."""

    input: tuple[str, ...] = flag(
        (), "list", "candidate folders, made by laion extract or laion dedup; several, or a,b",
        identity=False,
    )  # fmt: skip
    bloom: tuple[str, ...] = flag(
        (), "list", "folders of earlier laion dedup runs, whose pairs are dropped"
    )
    expected: int | None = flag(
        None, "int?",
        "pairs that the filter is sized for, of this crawl and all to come (default: those there "
        "are in the input)",
    )  # fmt: skip
    false_positive_rate: float = flag(
        1e-3, "float", "share of new pairs that a filter with all expected pairs drops wrongly"
    )
    exact: bool = flag(
        False, "bool", "compare digests instead, and count what the filter would drop wrongly"
    )
    shuffle_rows: int = flag(
        262_144, "int", "rows held and spread over their hosts at once, some 400 bytes each"
    )
    seed: int = flag(0, "int", "random seed of the order of the rows")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.input:
            raise UsageError("--input is required: folders that laion extract has made")
        at_least("expected", self.expected, 1)
        at_least("shuffle_rows", self.shuffle_rows, 1)
        if not 0 < self.false_positive_rate < 1:
            raise UsageError("--false_positive_rate must be between 0 and 1")
        if self.exact and (self.bloom or self.incremental_mode == "extend"):
            raise UsageError(
                "--exact compares digests, which a filter does not hold: give the folders of the "
                "earlier crawls as --input instead of --bloom or extend"
            )


@dataclass(frozen=True, slots=True)
class Partition:
    """A task: shard `shard_id` is made of one partition.

    `earlier` are the filters of runs before, in any order; their files are never written to.
    """

    shard_id: int
    number: int
    earlier: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dedup:
    """Makes a shard: see `SequentialWorker.make`."""

    options: DedupOptions
    files: tuple[InputFile, ...]
    size: FilterSize

    def __call__(self, task: Partition, shard: ShardOutput) -> None:
        bloom = merged_filter(task.earlier) or BloomFilter(self.size)
        before = bloom.added
        path = shard.path(f"{shard.name}.parquet")
        shuffle = Shuffle(self.options.shuffle_rows, self.options.seed)
        deduplicator = self._deduplicator(bloom, task, path)
        schema = CANDIDATE_SCHEMA
        groups = 0
        with pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=list(REPEATED),  # in the other columns it saves nothing
            write_statistics=["wat"],  # by which files are put in order
        ) as writer:

            def write(windows: Any) -> None:
                nonlocal groups
                for window in windows:
                    writer.write_table(window.cast(schema), row_group_size=GROUP_ROWS)
                    groups += -(-window.num_rows // GROUP_ROWS)

            for table in read_partition(self.files, task.number, schema.names, READ_ROWS):
                kept = deduplicator.keep(*digest_words(table["digest"]))
                count = int(kept.sum())
                shard.counts.successes += count
                shard.counts.drop(DUPLICATE, len(kept) - count)
                shard.report_progress()
                write(shuffle.add(table, kept))
            write(shuffle.flush())
            writer.add_key_value_metadata(partitions_metadata([task.number] * groups))
        rate = bloom.write(shard.path(filter_name(shard.number)))
        metrics = shard.counts.metrics
        metrics["filter_before"] = before
        metrics["filter_added"] = bloom.added - before
        metrics["partition"] = task.number
        if isinstance(deduplicator, ExactDeduplicator):
            metrics["filter_would_drop_wrongly"] = deduplicator.wrong
            deduplicator = deduplicator.approximate
        # Sums over shards are whole numbers: in millionths.
        metrics["expected_wrong_millionths"] = round(1e6 * deduplicator.expected_wrong)
        self._look_at_load(shard, bloom, rate)

    def _deduplicator(
        self, bloom: BloomFilter, task: Partition, path: str
    ) -> BloomDeduplicator | ExactDeduplicator:
        if not self.options.exact:
            return BloomDeduplicator(bloom)
        deduplicator = ExactDeduplicator(bloom, Path(f"{path}.digests"))
        # In the same pieces as the rows will come: what the filter would do depends on them.
        for table in read_partition(self.files, task.number, ["digest"], READ_ROWS):
            deduplicator.scan(*digest_words(table["digest"]))
        deduplicator.resolve()
        return deduplicator

    @staticmethod
    def _look_at_load(shard: ShardOutput, bloom: BloomFilter, rate: float) -> None:
        if rate > TOLERANCE * bloom.size.rate:
            shard.notes.append(
                f"shard {shard.name}: the filter was made for {bloom.size.expected:,} pairs and "
                f"holds {bloom.added:,}, so {percent(rate)} of new pairs are dropped as "
                "duplicates: use a larger --expected for the first crawl"
            )


@dataclass(frozen=True, slots=True)
class DedupReport:
    """What a run did, and what became of the filter."""

    stage: StageReport
    lines: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        return self.stage.exit_code

    @property
    def text(self) -> str:
        return "\n".join([self.stage.text, *self.lines])


def run(options: DedupOptions) -> DedupReport:
    """Make the deduplicated folder. Blocks until that is done or stopped.

    Raises:
        UsageError: something about the input, the options or the output folder cannot work;
            nothing was done.
    """
    candidates = find_candidates(options.input, options.output_folder)
    given = [filters_of(place) for place in options.bloom]
    size = (
        common_size([there[0] for there in given])
        or (
            begun_size(options.output_folder) if options.incremental_mode == "incremental" else None
        )
        or fitting_size(_rows(candidates), options.expected, options.false_positive_rate)
    )
    spec = StageSpec(
        stage="dedup",
        options=options,
        fingerprint=file_fingerprint(
            "candidates",
            [candidate.file for candidate in candidates],
            bloom=[[filter_header(path)["added"] for path in earlier] for earlier in given],
        ),
        shard_count=PARTITION_COUNT,
        subfolders=(FILTERS,),
    )
    make = Dedup(options, tuple(candidate.file for candidate in candidates), size)
    lines: list[str] = []
    with open_stage(spec) as build:
        tasks = largest_first(_tasks(build.folder, build.first_shard, given), candidates)
        if build.run(SequentialWorker(build.folder, make), tasks):
            lines = _about_filter(build.folder, build.report)
    return DedupReport(build.report, tuple(lines))


def _tasks(folder: OutputFolder, first: int, given: Sequence[tuple[str, ...]]) -> list[Partition]:
    """Return a task for each partition, numbered from `first` on.

    Args:
        given: the filters of each earlier run, by partition.
    """
    earlier = [*given, filters_before(folder, first)] if first else given
    return [
        Partition(first + number, number, tuple(filters[number] for filters in earlier))
        for number in range(PARTITION_COUNT)
    ]


def largest_first(
    tasks: Sequence[Partition], candidates: Sequence[CandidateFile]
) -> list[Partition]:
    """Return tasks in the order of their rows.

    A pair that is on every page of a large host gives most rows to one partition. Begun last, it
    would keep one worker busy while the others are done.
    """
    rows = _rows(candidates)
    return sorted(tasks, key=lambda task: -rows[task.number])


def _rows(candidates: Sequence[CandidateFile]) -> list[int]:
    """The rows of each partition."""
    total = np.zeros(PARTITION_COUNT, np.int64)
    for candidate in candidates:
        total += np.frombuffer(candidate.rows, np.uint32)
    return [int(rows) for rows in total]


def _about_filter(folder: OutputFolder, report: StageReport) -> list[str]:
    """What the filters hold and how often they are wrong, from their bits."""
    last = max(committed_shards(folder.names())) // PARTITION_COUNT * PARTITION_COUNT
    headers = [
        filter_header(f"{folder.path}/{filter_name(number)}")
        for number in range(last, last + PARTITION_COUNT)
    ]
    added = sum(header["added"] for header in headers)
    size = sum(64 * header["blocks"] for header in headers)
    rate = sum(header["current_rate"] for header in headers) / len(headers)
    wanted = headers[0]["rate"]
    metrics = report.total.metrics
    wrong = metrics["expected_wrong_millionths"] / 1e6
    total = report.total.successes
    lines = [
        (
            f"filter: {added:,} pairs in {in_bytes(size)}; of new pairs {percent(rate)} would look "
            f"known now (asked for: at most {percent(wanted)} when full)"
        )
    ]
    if "filter_would_drop_wrongly" in metrics:
        count = metrics["filter_would_drop_wrongly"]
        lines.append(
            f"exact: {total:,} pairs kept, of which a filter would have dropped {count:,} wrongly "
            f"({percent(count / max(total, 1))}; {wrong:,.0f} were to be expected)"
        )
    elif round(wrong):
        lines.append(
            f"the filter dropped about {wrong:,.0f} new pairs wrongly "
            f"({percent(wrong / (total + wrong))} of them)"
        )
    return lines
