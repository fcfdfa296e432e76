"""`laion dedup_images`: keeps one of the images that look the same.

Three passes find the duplicates: the rows of the input are scattered to buckets, the rows of each
bucket are compared, and the links that this yields are gathered by shard. Then each shard is
written without them. Memory does not grow with the input, but for a bit a row in this process.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from img2ds.core.naming import committed_shards, stats_name
from img2ds.engine.marker import load_markers
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import DIGITS, ShardOutput
from img2ds.report.console import Labels
from img2ds.report.units import counted
from img2ds.storage import OutputFolder, read_whole
from laion.data.embedding_folder import (
    SIMILARITY,
    EmbeddingFolder,
    EmbeddingShard,
    open_embedding_folder,
)
from laion.data.embedding_layout import FOLDERS, IMAGES
from laion.data.embedding_writer import copy_rows
from laion.dedup_images.clusters import Clusters
from laion.dedup_images.compare import CompareTask, compare
from laion.dedup_images.comparison import Comparison
from laion.dedup_images.duplicates_table import DUPLICATES, FOLDER, duplicates_table
from laion.dedup_images.embedding_comparison import (
    EmbeddingComparison,
    cluster_count,
    learn_clusters,
)
from laion.dedup_images.links import GatherTask, ShardLinks, follow_chains, gather
from laion.dedup_images.options import DedupImagesOptions
from laion.dedup_images.passes import Passes
from laion.dedup_images.scatter import BY_SIMILARITY, ScatterTask, scatter, size_columns
from laion.dedup_images.scattered import PIECES, load_part
from laion.stage import StageReport, StageSpec, open_stage

LABELS = Labels("shard", "pairs", "pairs/s", "kept")

#: Most batches of shards: each is a file that the tasks of the second pass read from.
BATCHES = 256
#: Rows of a task of the second pass, about.
TASK_ROWS = 131_072
#: Bytes of the longest key that is recorded; longer ones are left out.
MAX_KEY = 48


@dataclass(frozen=True, slots=True)
class WriteTask:
    """One shard to write without its duplicates."""

    shard_id: int
    source: EmbeddingShard
    links: ShardLinks
    scattered: str
    batch_shards: int
    reason: str


def run(options: DedupImagesOptions) -> StageReport:
    """Write what is not written yet.

    Raises:
        UsageError: something about it cannot work; nothing was done.
    """
    required = (SIMILARITY,) if options.keep == BY_SIMILARITY else ()
    source = open_embedding_folder(options.input, required)
    first = source.shards[0]
    if options.keep != BY_SIMILARITY and not size_columns(first.schema()):
        raise UsageError(
            f"--keep {options.keep} needs the sizes of images, and {options.input} has no columns "
            "original_width and original_height: use --keep similarity"
        )
    first.embeddings(IMAGES, first.rows())  # raises where they are missing
    spec = StageSpec(
        stage="dedup_images",
        options=options,
        fingerprint=source.fingerprint(),
        shard_count=len(source.shards),
        labels=LABELS,
        subfolders=(*FOLDERS, FOLDER),
        model=source.model,
    )
    with open_stage(spec) as build:
        files = [(shard.path("{}"), shard.size) for shard in source.shards]
        passes = Passes.open(build, options, [options.identity(), files])
        if len(build.build.committed) == len(source.shards):
            tasks: list[WriteTask] | None = []
        else:
            tasks = Finder(passes, source, options).tasks()
        if tasks is not None and build.run(SequentialWorker(build.folder, write), tasks):
            passes.remove()
    return build.report


class Finder:
    """Runs the passes that find the duplicates of an input."""

    def __init__(
        self, passes: Passes, source: EmbeddingFolder, options: DedupImagesOptions
    ) -> None:
        self._passes = passes
        self._source = source
        self._options = options
        self._key_bytes = _key_bytes(source.shards[0])
        self._batch_shards = ceil(len(source.shards) / BATCHES)

    def tasks(self) -> list[WriteTask] | None:
        """Return the shards to write; None if a pass is not complete."""
        comparison = self._comparison()
        shards, size, run = self._source.shards, self._batch_shards, self._passes.run
        scattered, compared, gathered = (
            f"{self._passes.path}/{name}" for name in ("scatter", "compare", "gather")
        )
        batches = [shards[start : start + size] for start in range(0, len(shards), size)]
        keep, key_bytes = self._options.keep, self._key_bytes
        report = run("scatter", scatter, [
            ScatterTask(n, batch, comparison, keep, key_bytes) for n, batch in enumerate(batches)
        ])  # fmt: skip
        if report is None:
            return None
        rows = report.tally.successes * comparison.visits
        count = min(PIECES, max(1, ceil(rows / TASK_ROWS)))
        borders = [n * PIECES // count for n in range(count + 1)]
        compares = [
            CompareTask(
                n, scattered, len(batches), borders[n], borders[n + 1], comparison, key_bytes
            )
            for n in range(count)
        ]
        if run("compare", compare, compares) is None:
            return None
        gathers = [
            GatherTask(n, compared, count, scattered, key_bytes) for n in range(len(batches))
        ]
        if run("gather", gather, gathers) is None:
            return None
        ends = self._ends(gathered, scattered, len(batches), comparison)
        tasks: list[WriteTask] = []
        for number, batch in enumerate(batches):
            row = 0
            lengths = load_part(scattered, number, "shards.npy").tolist()
            for position, (shard, length) in enumerate(zip(batch, lengths, strict=True)):
                links = ShardLinks(gathered, number, position, row, ends, key_bytes)
                place = self._passes.build.first_shard + len(tasks)
                tasks.append(WriteTask(place, shard, links, scattered, size, comparison.reason))
                row += length
        return tasks

    def _ends(
        self, gathered: str, scattered: str, batches: int, comparison: Comparison
    ) -> str | None:
        """Return the file of where chains of links end; None without chains."""
        if comparison.visits == 1:  # a leader is in no other bucket
            return None
        ends = follow_chains(gathered, scattered, batches, self._key_bytes)
        if not len(ends):
            return None
        self._passes.build.folder.write_bytes(f"{self._passes.name}/ends", ends.tobytes())
        return f"{self._passes.path}/ends"

    def _comparison(self) -> EmbeddingComparison:
        """Return the comparison, with the clusters that a run before has learned."""
        options, folder = self._options, self._passes.build.folder
        name, dim = f"{self._passes.name}/clusters", _dim(self._source)
        if folder.exists(name):
            clusters = Clusters.from_bytes(read_whole(f"{folder.path}/{name}"), dim)
        else:
            rows = _rows(self._source)
            wanted = options.clusters or cluster_count(rows)
            self._passes.build.note(f"learning {counted(wanted, 'cluster')} of {rows:,} images")
            clusters = learn_clusters(self._source.shards, rows, wanted, dim)
            folder.write_bytes(name, clusters.to_bytes())
        count = len(clusters.centers)
        visits = min(options.probes, count)
        path = f"{folder.path}/{name}"
        return EmbeddingComparison(path, count, dim, visits, options.threshold)


def write(task: WriteTask, shard: ShardOutput) -> None:
    """Write one shard without its duplicates, and what they duplicate."""
    table = task.source.table()
    rows, links = task.links.read()
    kept = np.ones(table.num_rows, np.bool_)
    kept[rows] = False
    copy_rows(task.source, table, kept, shard.name, shard.path)
    if len(rows):
        found = duplicates_table(table, rows, links, task.scattered, task.batch_shards)
        pq.write_table(found, shard.path(DUPLICATES.format(shard.name)))
    shard.counts.successes += int(kept.sum())
    shard.counts.drop(task.reason, len(rows))


def _key_bytes(shard: EmbeddingShard) -> int:
    """Return the bytes to reserve for a key: img2ds's have the same length everywhere."""
    if "key" not in shard.schema().names:
        return 1
    lengths = pc.min_max(pc.binary_length(pc.cast(shard.table(["key"])["key"], "binary"))).as_py()
    same = lengths["min"] == lengths["max"] and lengths["min"]
    return min(MAX_KEY, lengths["min"]) if same else MAX_KEY


def _dim(source: EmbeddingFolder) -> int:
    for shard in source.shards:
        rows, dim = shard.embeddings(IMAGES).shape
        if rows:  # an empty array may have any width
            return int(dim)
    return 1


def _rows(source: EmbeddingFolder) -> int:
    """Return how many rows there are, from commit markers where there are any."""
    folder = OutputFolder.open(source.path)
    numbers = [shard.number for shard in source.shards]
    if committed_shards(folder.names()).issuperset(numbers):
        markers = load_markers(folder, [stats_name(number, DIGITS) for number in numbers])
        return sum(marker.counts.successes for _, marker in markers)
    return sum(shard.rows() for shard in source.shards)
