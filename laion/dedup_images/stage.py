"""`laion dedup_images`: keeps one of the images that look the same.

Three passes find the duplicates: the rows of the input are scattered to buckets, the rows of each
bucket are compared, and the links that this yields are gathered by shard. Then each shard is
written without them. Memory does not grow with the input, but for a bit a row in this process.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import ShardOutput
from img2ds.report.console import Labels
from img2ds.storage import OutputFolder
from laion.data.embedding_folder import (
    SIMILARITY,
    EmbeddingFolder,
    EmbeddingShard,
    open_embedding_folder,
)
from laion.data.embedding_layout import FOLDERS, IMAGES
from laion.data.embedding_writer import copy_rows
from laion.dedup_images.duplicates_table import DUPLICATES, FOLDER, duplicates_table
from laion.dedup_images.evaluation import find_evaluation_sets
from laion.dedup_images.evaluation_page import write_page
from laion.dedup_images.finder import Finder
from laion.dedup_images.links import ShardLinks
from laion.dedup_images.options import BY_EMBEDDING, DedupImagesOptions
from laion.dedup_images.scatter import BY_SIMILARITY, size_columns
from laion.passes import Passes, PassesEndedError
from laion.provenance import inputs_of, options_of
from laion.samples.source import SampleShards, find_shards
from laion.stage import StageReport, StageSpec, open_stage

LABELS = Labels("shard", "pairs", "pairs/s", "kept")


@dataclass(frozen=True, slots=True)
class WriteTask:
    """One shard to write without its duplicates.

    Attributes:
        scattered, batch_shards: where rows are, see `FoundLinks`.
    """

    shard_id: int
    source: EmbeddingShard
    links: ShardLinks
    scattered: str
    batch_shards: int


def run(options: DedupImagesOptions) -> StageReport:
    """Write what is not written yet.

    Raises:
        UsageError: something about it cannot work; nothing was done.
    """
    required = (SIMILARITY,) if options.keep == BY_SIMILARITY else ()
    source = open_embedding_folder(options.input, required)
    _check(options, source)
    images = None if options.by == BY_EMBEDDING else _images(options, source)
    sets = find_evaluation_sets(options, source.model)
    more: dict[str, Any] = {} if images is None else {"images": images.fingerprint()["files"]}
    if sets:
        more["evaluation"] = [one.fingerprint() for one in sets]
    spec = StageSpec(
        stage="dedup_images",
        options=options,
        fingerprint={**source.fingerprint(), **more},
        shard_count=len(source.shards),
        labels=LABELS,
        subfolders=(*FOLDERS, FOLDER),
        model=source.model,
    )
    with open_stage(spec) as build:
        files = [(shard.path("{}"), shard.size) for shard in source.shards]
        passes = Passes.open(build, options, [options.identity(), files, more], "images")
        tasks: list[WriteTask] = []
        if len(build.build.committed) < len(source.shards):
            try:
                found = Finder(passes, source, images, sets, options).run()
            except PassesEndedError:
                return build.report
            tasks = [
                WriteTask(build.first_shard + n, shard, links, found.scattered, found.batch_shards)
                for n, (shard, links) in enumerate(zip(source.shards, found.shards, strict=True))
            ]
        if build.run(SequentialWorker(build.folder, write), tasks):
            if sets:
                write_page(build.folder, sets, images or _images_at_hand(options, source))
            passes.remove()
    return build.report


def write(task: WriteTask, shard: ShardOutput) -> None:
    """Write one shard without its duplicates, and what they duplicate."""
    table = task.source.table()
    rows, links = task.links.read()
    kept = np.ones(table.num_rows, np.bool_)
    kept[rows] = False
    copy_rows(task.source, table, kept, shard.name, shard.path)
    if len(rows):
        reasons = task.links.source.reasons_of(links)
        where = (task.scattered, task.batch_shards)
        found = duplicates_table(table, rows, links, task.links.source, where)
        pq.write_table(found, shard.path(DUPLICATES.format(shard.name)))
        shard.counts.reasons.update(reasons)
    shard.counts.successes += int(kept.sum())


def _check(options: DedupImagesOptions, source: EmbeddingFolder) -> None:
    first = source.shards[0]
    if options.keep != BY_SIMILARITY and not size_columns(first.schema()):
        raise UsageError(
            f"--keep {options.keep} needs the sizes of images, and {options.input} has no columns "
            "original_width and original_height: use --keep similarity"
        )
    first.embeddings(IMAGES, first.rows())  # raises where they are missing


def _images(options: DedupImagesOptions, source: EmbeddingFolder) -> SampleShards:
    """Find the images that were scored."""
    if "key" not in source.shards[0].schema().names:
        raise UsageError(
            f"--by {options.by} finds images by their keys, and {options.input} has no column key: "
            "use --by embedding"
        )
    if options.shards is not None:
        return find_shards(options.shards)
    found = _recorded_images(source)
    if found is not None:
        return found
    raise UsageError(
        f"--shards is required with --by {options.by}: {options.input} does not record the shards "
        "that it was scored from"
    )


def _images_at_hand(options: DedupImagesOptions, source: EmbeddingFolder) -> SampleShards | None:
    """Return the images for the page of matches, None where they cannot be found."""
    if options.shards is not None:
        return find_shards(options.shards)
    with suppress(UsageError):  # shards may be gone that the input was scored from
        return _recorded_images(source)
    return None


def _recorded_images(source: EmbeddingFolder) -> SampleShards | None:
    """Return the shards that the input was scored from, None where it does not record them."""
    for place in inputs_of(source.path):
        folder = OutputFolder.open(place)
        if "output_format" in options_of(folder) or any(
            name.endswith(".tar") for name in folder.names()
        ):
            return find_shards(place)
    return None
