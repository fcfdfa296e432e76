"""`laion index`: an embedding folder to an index folder.

Shards (vectors and metadata) are written first, as in every stage; then `Indexer` builds the
indices over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from img2ds.core.failure import UsageError
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import ShardOutput
from img2ds.storage import OutputFolder
from laion.knn.description import array_name, rows_name
from laion.knn.index_kinds import choose_plan, index_class
from laion.knn.indexer import Indexer, IndexReport
from laion.knn.layout import FOLDERS, EmbeddingPart, open_embeddings
from laion.knn.metadata import write_rows
from laion.knn.options import IndexOptions
from laion.knn.vectors import usable_rows, write_vectors
from laion.stage import StageSpec, file_fingerprint, open_stage


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
    files = [file for part in embeddings.parts for file in part.files]
    spec = StageSpec(
        stage="index",
        options=options,
        fingerprint=file_fingerprint("embeddings", files),
        shard_count=len(embeddings.parts),
        subfolders=("metadata", *FOLDERS.values()),
    )
    lines: list[str] = []
    with open_stage(spec) as build:
        first = build.first_shard
        tasks = [PartTask(first + n, part) for n, part in enumerate(embeddings.parts)]
        if build.run(SequentialWorker(build.folder, make_shard), tasks):
            lines = Indexer(options, embeddings.kinds, build).run()
    return IndexReport(build.report, lines)


def make_shard(task: PartTask, shard: ShardOutput) -> None:
    """Write a shard's vectors and metadata, without rows that have no vector.

    Raises:
        OSError, ArrowException: a file cannot be read or written.
    """
    usable = {kind: usable_rows(file) for kind, file in task.part.arrays.items()}
    masks = [mask for mask, _ in usable.values()]
    keep = masks[0] if len(masks) == 1 else masks[0] & masks[1]
    for kind, file in task.part.arrays.items():
        write_vectors(file, shard.path(array_name(kind, task.shard_id)), keep, usable[kind][1])
    metrics = write_rows(task.part.metadata, shard.path(rows_name(task.shard_id)), keep)
    shard.counts.successes += int(keep.sum())
    if not keep.all():
        shard.counts.drop("no_vector", int((~keep).sum()))
    shard.counts.metrics.update(metrics)
