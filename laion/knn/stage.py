"""`laion index`: an embedding folder to an index folder.

Shards (vectors and metadata) are written first, as in every stage; then `Indexer` builds the
indices over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from img2ds.core.failure import UsageError
from img2ds.report.console import Labels
from img2ds.storage import OutputFolder
from laion.knn.description import array_name, rows_name
from laion.knn.index_kinds import choose_plan, index_class
from laion.knn.indexer import Indexer, IndexReport
from laion.knn.layout import FOLDERS, EmbeddingPart, open_embeddings
from laion.knn.metadata import write_rows
from laion.knn.options import IndexOptions
from laion.knn.vectors import usable_rows, write_vectors
from laion.part import Part
from laion.stage import SequentialWorker, StageReport, fingerprint, run_stage


@dataclass(frozen=True, slots=True)
class PartTask:
    """One shard to write."""

    shard_id: int
    part: EmbeddingPart


def check(options: IndexOptions) -> None:
    """Check what is known before reading the input.

    Raises:
        UsageError: the index's library is not installed, or the output folder is remote.
    """
    index_class(options.kind or "flat").require()
    if not OutputFolder.open(options.output_folder).local:
        raise UsageError("--output_folder must be a local folder: indices are memory-mapped")


def run(options: IndexOptions) -> IndexReport:
    """Build what is missing. Blocks until that is done or stopped.

    Raises:
        UsageError: the input or the options cannot work; nothing was done.
    """
    check(options)
    embeddings = open_embeddings(options.input)
    plan = choose_plan(options.kind, embeddings.rows, embeddings.dimension, options.memory)
    # Report a wrong factory string before any work.
    index_class(plan.kind).create(plan.factory, embeddings.dimension)
    report: IndexReport | None = None

    def finish(folder: OutputFolder, stage: StageReport) -> None:
        nonlocal report
        report = Indexer(options, embeddings.kinds, folder, stage).run()

    def tasks(first: int) -> Sequence[PartTask]:
        return [PartTask(first + n, part) for n, part in enumerate(embeddings.parts)]

    files = [file for part in embeddings.parts for file in part.files]
    stage = run_stage(
        "index",
        options,
        fingerprint("embeddings", files),
        tasks,
        lambda folder: SequentialWorker(folder, make_part),
        words=Labels("part", "rows", "rows/s", "kept"),
        inside=("metadata", *FOLDERS.values()),
        finish=finish,
    )
    return report or IndexReport(stage)


def make_part(task: PartTask, part: Part) -> None:
    """Write a shard's vectors and metadata, without rows that have no vector.

    Raises:
        OSError, ArrowException: a file cannot be read or written.
    """
    usable = {kind: usable_rows(file) for kind, file in task.part.arrays.items()}
    masks = [mask for mask, _ in usable.values()]
    keep = masks[0] if len(masks) == 1 else masks[0] & masks[1]
    for kind, file in task.part.arrays.items():
        write_vectors(file, part.path(array_name(kind, task.shard_id)), keep, usable[kind][1])
    metrics = write_rows(task.part.metadata, part.path(rows_name(task.shard_id)), keep)
    part.counts.successes += int(keep.sum())
    if not keep.all():
        part.counts.drop("no_vector", int((~keep).sum()))
    part.counts.metrics.update(metrics)
