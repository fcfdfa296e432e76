"""Removes blocked pairs from a finished release, in place: `laion tag --purge` on its folder.

Each shard is rewritten file by file, its commit marker last; the card and the statistics follow.
See `purges` for what happens when that is cut off.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.blocklist.blocks import Blocks
from img2ds.core.failure import UsageError
from img2ds.core.naming import stats_name
from img2ds.core.sample import FileRecord
from img2ds.engine.build import Build, BuildSpec, open_build
from img2ds.engine.marker import record_purge
from img2ds.engine.run_report import RunReport
from img2ds.engine.shard_output import DIGITS
from img2ds.report.console import Labels, Verbosity
from img2ds.report.counters import Counts
from img2ds.report.shard_report import ShardReport
from img2ds.report.units import counted
from img2ds.storage import OutputFolder, file_record, open_seekable
from laion.data.blocked import blocked_reasons, columns_of, open_lists
from laion.data.embedding_folder import EmbeddingShard, open_embedding_folder
from laion.data.embedding_layout import IMAGES, METADATA, TEXTS
from laion.data.embedding_writer import copy_array
from laion.provenance import options_of
from laion.release.finish import Origin, write_card
from laion.release.purges import (
    ROWS,
    Mask,
    Purge,
    PurgedRows,
    add_purge,
    end_journal,
    read_journal,
    write_journal,
)

LABELS = Labels("shard", "pairs", "pairs/s", "removed")
#: Rows that are compared at once.
BATCH = 1 << 16

_PART = re.compile(r"part-(\d+)-of-\d+\.parquet")


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard of a release, and its part."""

    shard_id: int
    source: EmbeddingShard
    part: str


@dataclass(slots=True)
class ReleasePurgeReport(RunReport):
    """What was removed from a release; `purges` are the removals that this run completed."""

    labels: Labels = field(default_factory=lambda: LABELS)
    purges: list[Purge] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What people read at the end."""
        lines = []
        for purge in self.purges:
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(purge.reasons.items()))
            lines.append(
                f"removed {counted(purge.pairs, 'pair')} from {counted(len(purge.shards), 'shard')}"
                f" of {self.output_folder} ({reasons or 'none is blocked'})"
            )
        lines += [f"shard {number}: {why}" for number, why in sorted(self.failed.items())]
        if self.exit_code:
            lines.append(f"{self.stopped or 'not finished'}: rerun the same command to complete it")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class How:
    """Who does the work, see `StageOptions`."""

    distributor: str
    processes: int
    retries: int
    tmp_dir: str | None
    force: bool


def is_release(path: str) -> bool:
    """Return whether a folder was made by `laion release`. Raises UsageError."""
    return options_of(OutputFolder.open(path)).get("stage") == "release"


def purge_release(path: str, flags: Any, how: How) -> ReleasePurgeReport:
    """Remove the pairs that block lists name from a release. Blocks.

    Args:
        flags: name the lists; without any only a removal that was cut off is completed.

    Raises:
        UsageError: the release or a list cannot be used; nothing was done.
    """
    source = open_embedding_folder(path, ("url",), unfinished_purge=True)
    blocks, compiled = open_lists(flags, source.shards[0].schema(), source.path)
    tasks = _tasks(source.path, source.shards)
    report = ReleasePurgeReport()
    spec = BuildSpec(
        output_folder=source.path,
        tmp_dir=how.tmp_dir,
        force=how.force,
        distributor=how.distributor,
        processes_count=how.processes,
        retries=how.retries,
        verbosity=Verbosity(shards=False, logger="laion"),
    )
    with open_build(spec, report) as build:
        pending = read_journal(build.folder)
        if pending is None and not blocks:
            raise UsageError(
                f"nothing is to be removed from {source.path}: give --block_urls, --block_hosts or "
                "--block_hashes"
            )
        if pending is not None:
            build.console.note(f"completing the removal of {pending.day} first")
            _apply(build, pending, tasks)
        if blocks and not report.exit_code:
            found = _find(build, blocks, str(compiled), tasks)
            if found is not None:
                _apply(build, found, tasks)
    return report


def _tasks(path: str, shards: Sequence[EmbeddingShard]) -> list[ShardTask]:
    parts = {
        int(match[1]): name
        for name in OutputFolder.open(path).names()
        if (match := _PART.fullmatch(name))
    }
    # Parts are numbered from 0, shards may be from a later number on.
    if sorted(parts) != [*range(len(shards))]:
        raise UsageError(
            f"{path} has {counted(len(shards), 'shard')} and {counted(len(parts), 'part')}: it is "
            "not a complete release"
        )
    return [ShardTask(shard.number, shard, parts[n]) for n, shard in enumerate(shards)]


def _find(
    build: Build[ReleasePurgeReport], blocks: Blocks, words: str, tasks: Sequence[ShardTask]
) -> Purge | None:
    """Find the pairs to remove, and write the journal. None if that was not finished."""
    report = build.report
    build.folder.remove([ROWS])  # of a search that was cut off
    before = Counter(report.tally.reasons)
    build.run(Finder(build.folder, blocks), tasks)
    if report.exit_code:
        return None
    reasons = Counter(report.tally.reasons) - before
    with_rows = {name.rpartition("/")[2] for name in build.folder.names(ROWS)}
    shards = tuple(task.shard_id for task in tasks if task.source.name in with_rows)
    day = datetime.now(timezone.utc).date().isoformat()
    purge = Purge(day, words, dict(reasons), shards)
    write_journal(build.folder, purge)
    return purge


def _apply(build: Build[ReleasePurgeReport], purge: Purge, tasks: Sequence[ShardTask]) -> None:
    """Rewrite the shards that a journal names, then the card, and end the journal."""
    wanted = [task for task in tasks if task.shard_id in set(purge.shards)]
    build.run(Remover(build.folder), wanted)
    if build.report.exit_code:
        return
    add_purge(build.folder, purge)
    write_card(build.folder, Origin.load(build.folder))
    end_journal(build.folder)
    build.report.purges.append(purge)


@dataclass(frozen=True, slots=True)
class Finder:
    """The worker of the first step: notes which rows of each shard are blocked."""

    folder: OutputFolder
    blocks: Blocks

    def __call__(self, tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
        _work(self._find, tasks, emit)

    def _find(self, task: ShardTask, counts: Counts) -> None:
        self.blocks.open()
        columns = columns_of(self.blocks)
        reasons: list[str | None] = []
        with pq.ParquetFile(open_seekable(task.source.path(METADATA))) as file:
            for batch in file.iter_batches(BATCH, columns=columns, use_threads=False):
                reasons += blocked_reasons(self.blocks, pa.Table.from_batches([batch]))
        kept = np.array([reason is None for reason in reasons], np.bool_)
        removed = Counter(reason for reason in reasons if reason is not None)
        if removed:
            PurgedRows(kept, removed).save(self.folder, task.shard_id)
        counts.successes += int(kept.sum())
        counts.reasons.update(removed)


@dataclass(frozen=True, slots=True)
class Remover:
    """The worker of the second step: rewrites the files of each shard that still have the rows."""

    folder: OutputFolder

    def __call__(self, tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
        self.folder.clean_dead_workers()
        _work(self._remove, tasks, emit)

    def _remove(self, task: ShardTask, counts: Counts) -> None:
        rows = PurgedRows.load(self.folder, task.shard_id)
        source, kept = task.source, rows.kept
        for kind in (IMAGES, TEXTS):
            array = source.embeddings(kind)
            if self._is_whole(source.path(kind), len(array), kept):
                name = kind.format(source.name)
                copy_array(array, kept, self.folder.staging_path(name))
                self.folder.publish(name)
        for name in (task.part, METADATA.format(source.name)):
            self._filter(name, kept)
        names = [kind.format(source.name) for kind in (METADATA, IMAGES, TEXTS)] + [task.part]
        records = [self._record(name) for name in names]
        marker = stats_name(task.shard_id, DIGITS)
        record_purge(self.folder, marker, int(kept.sum()), records, rows.reasons)

    def _filter(self, name: str, kept: Mask) -> None:
        """Rewrite a table, row group by row group."""
        path = f"{self.folder.path}/{name}"
        with pq.ParquetFile(open_seekable(path)) as file:
            if not self._is_whole(path, file.metadata.num_rows, kept):
                return
            with pq.ParquetWriter(self.folder.staging_path(name), file.schema_arrow) as writer:
                start = 0
                for batch in file.iter_batches(BATCH, use_threads=False):
                    mask = pa.array(kept[start : start + len(batch)])
                    writer.write_batch(batch.filter(mask))
                    start += len(batch)
        self.folder.publish(name)

    @staticmethod
    def _is_whole(path: str, rows: int, kept: Mask) -> bool:
        """Return whether a file has its rows still. A run that was cut off may have come so far.

        Raises:
            OSError: it has neither the rows of before nor those of after.
        """
        if rows not in (len(kept), int(kept.sum())):
            raise OSError(f"{path} has {rows:,} rows, and had {len(kept):,}: it is not as it was")
        return rows == len(kept)

    def _record(self, name: str) -> FileRecord:
        if self.folder.local:
            return file_record(name, f"{self.folder.path}/{name}")
        path = self.folder.staging_path(name)
        with open(path, "wb") as file:
            file.write(self.folder.read_bytes(name))
        return file_record(name, path)


def _work(
    work: Callable[[Any, Counts], None], tasks: Iterator[Any], emit: Callable[[Any], None]
) -> None:
    for task in tasks:
        counts = Counts()
        error = None
        try:
            work(task, counts)
        except (OSError, UsageError, pa.ArrowException) as trouble:
            error = str(trouble) or type(trouble).__name__
        emit(ShardReport(task.shard_id, counts, 0.0, error))
