"""The codes of an index, in segments: each is a task, on whatever runs the stage.

A segment is the trained index with a range of the rows. It is committed as a shard is, so that a
build that was killed encodes only what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from img2ds.core.naming import shard_name
from img2ds.engine.fingerprint import fingerprint
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import DIGITS, ShardOutput
from img2ds.report.console import Labels
from laion.knn.index_kinds import index_class
from laion.knn.options import IndexOptions
from laion.knn.vectors import VectorFiles
from laion.stage import StageReport, StageSpec, open_stage


@dataclass(frozen=True, slots=True)
class Segment:
    """A task: the rows from `start` up to `stop`."""

    shard_id: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Encoder:
    """Makes a segment: see `SequentialWorker.make`.

    Attributes:
        trained: path of the trained index without rows.
        arrays: paths of the vectors.
        block_rows: rows converted at once.
    """

    kind: str
    trained: str
    arrays: tuple[str, ...]
    block_rows: int

    def __call__(self, task: Segment, shard: ShardOutput) -> None:
        index = index_class(self.kind).resume(self.trained)
        index.set_threads(1)  # every core has a worker
        vectors = VectorFiles(self.arrays)
        for first, block in vectors.blocks(task.start, task.stop, self.block_rows):
            index.add(block, np.arange(first, first + len(block), dtype=np.int64))
            shard.counts.successes += len(block)
            shard.report_progress()
        index.store(shard.path(segment_name(task.shard_id)))


def segment_name(number: int) -> str:
    """Return the file of a segment."""
    return f"{shard_name(number, DIGITS)}.index"


def cut(rows: int, size: int) -> list[Segment]:
    """Return segments of at most `size` rows each."""
    starts = range(0, rows, size)
    return [Segment(n, start, min(start + size, rows)) for n, start in enumerate(starts)]


def encode(
    options: IndexOptions, folder: str, encoder: Encoder, segments: Sequence[Segment]
) -> StageReport:
    """Make the segments that are missing in `folder`. Blocks until that is done or stopped."""
    spec = StageSpec(
        stage="index segments",
        options=replace(options, output_folder=folder, incremental_mode="incremental"),
        fingerprint=fingerprint("rows", [], bounds=[[s.start, s.stop] for s in segments]),
        shard_count=len(segments),
        labels=Labels("segment", "rows", "rows/s", "encoded"),
    )
    with open_stage(spec) as build:
        build.run(SequentialWorker(build.folder, encoder), segments)
    return build.report
