"""Runs the passes that find the duplicates of an input: see `stage`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import pyarrow.compute as pc

from img2ds.core.naming import committed_shards, stats_name
from img2ds.engine.marker import load_markers
from img2ds.engine.shard_output import DIGITS
from img2ds.report.units import counted
from img2ds.storage import OutputFolder, read_whole
from laion.data.embedding_folder import EmbeddingFolder, EmbeddingShard
from laion.data.embedding_layout import IMAGES
from laion.dedup_images.clusters import Clusters
from laion.dedup_images.compare import CompareTask, compare
from laion.dedup_images.comparison import Comparison
from laion.dedup_images.embedding_comparison import (
    EmbeddingComparison,
    cluster_count,
    learn_clusters,
)
from laion.dedup_images.evaluation import (
    PROBES,
    EvaluationSet,
    EvaluationTask,
    embed,
    scatter_images,
)
from laion.dedup_images.hash_comparison import HashComparison
from laion.dedup_images.hash_files import HashFiles, HashTask, hash_images, read_ranges
from laion.dedup_images.links import GatherTask, LinkSource, ShardLinks, follow_chains, gather
from laion.dedup_images.options import BY_EMBEDDING, BY_HASH, DedupImagesOptions
from laion.dedup_images.scatter import FIRST, ScatterTask, scatter
from laion.dedup_images.scattered import PIECES, load_part, record_type
from laion.passes import Passes
from laion.samples.source import SampleShards

#: Most batches of shards: each is a file that the tasks of the second pass read from.
BATCHES = 256
#: Bytes of a task of the second pass, about: 128,000 rows of 512 float16 numbers.
TASK_BYTES = 128 << 20
#: Bytes of the longest key that is recorded; longer ones are left out.
MAX_KEY = 96


@dataclass(frozen=True, slots=True)
class FoundLinks:
    """What the passes found.

    Attributes:
        shards: the links of each shard of the input, in their order.
        scattered: the folder of the first pass.
        batch_shards: shards of a batch.
    """

    shards: list[ShardLinks]
    scattered: str
    batch_shards: int


class Finder:
    """Finds the duplicates of an input.

    Args:
        images: the images, where their hashes are compared.
        sets: what the dataset must not contain.
    """

    def __init__(
        self,
        passes: Passes,
        source: EmbeddingFolder,
        images: SampleShards | None,
        sets: tuple[EvaluationSet, ...],
        options: DedupImagesOptions,
    ) -> None:
        self._passes = passes
        self._source = source
        self._images = images
        self._sets = sets
        self._options = options
        self._key_bytes = MAX_KEY if sets else _key_bytes(source.shards[0])
        self._batch_shards = ceil(len(source.shards) / BATCHES)
        shards, size = source.shards, self._batch_shards
        self._batches = [shards[start : start + size] for start in range(0, len(shards), size)]
        self._evaluation: list[str] = []

    def run(self) -> FoundLinks:
        """Run all passes. Raises PassesEndedError, OSError, UsageError."""
        compared, scattered = [], ""
        comparisons = list(self._comparisons())
        for by, (name, comparison) in enumerate(comparisons):
            scattered, tasks = self._compare(by, name, comparison)
            compared.append((f"{self._passes.path}/compare-{name}", tasks))
        key_bytes, batches = self._key_bytes, range(len(self._batches))
        self._passes.run("gather", gather, [
            GatherTask(n, tuple(compared), scattered, len(batches), key_bytes) for n in batches
        ])  # fmt: skip
        gathered = f"{self._passes.path}/gather"
        ends = None
        if len(comparisons) > 1 or comparisons[0][1].visits > 1:
            ends = self._ends(gathered, scattered)
        source = LinkSource(
            gathered, ends, key_bytes, tuple(comparison.reason for _, comparison in comparisons),
            len(batches), tuple(self._evaluation),
        )  # fmt: skip
        links = []
        for number in batches:
            row = 0
            for position, length in enumerate(load_part(scattered, number, "shards.npy").tolist()):
                links.append(ShardLinks(source, number, position, row))
                row += length
        return FoundLinks(links, scattered, self._batch_shards)

    def _compare(self, by: int, name: str, comparison: Comparison) -> tuple[str, int]:
        """Scatter and compare the rows; return the folder of the first pass and the tasks."""
        keep, key_bytes = self._options.keep, self._key_bytes
        report = self._passes.run(f"scatter-{name}", scatter, [
            ScatterTask(n, batch, comparison, keep, key_bytes)
            for n, batch in enumerate(self._batches)
        ])  # fmt: skip
        left = report.tally.reasons.total()
        if left:
            kind = "hash" if name == BY_HASH else "embedding"
            self._passes.build.note(
                f"{counted(left, 'image')} of {report.tally.count:,} without a usable {kind}: "
                "they are not compared by it"
            )
        row = record_type(key_bytes).itemsize + comparison.dtype.itemsize
        rows = report.tally.successes * comparison.visits
        count = min(PIECES, max(1, ceil(rows * row / TASK_BYTES)))
        borders = [n * PIECES // count for n in range(count + 1)]
        scattered = f"{self._passes.path}/scatter-{name}"
        batches, more = len(self._batches), self._scatter_evaluation(name, comparison)
        self._passes.run(f"compare-{name}", compare, [
            CompareTask(
                n, scattered, batches, more, (borders[n], borders[n + 1]), comparison, by, key_bytes
            )
            for n in range(count)
        ])  # fmt: skip
        return scattered, count

    def _scatter_evaluation(self, name: str, comparison: Comparison) -> range:
        """Scatter the evaluation images; return the numbers of their batches."""
        first = len(self._batches) + len(self._evaluation)
        tasks: list[Any] = []
        for number, one in enumerate(self._sets):
            before = len(tasks)
            if isinstance(comparison, HashComparison):
                shards = () if one.images is None else one.images.shards
                tasks += [
                    EvaluationTask(first + before + n, shard, comparison, self._key_bytes)
                    for n, shard in enumerate(shards)
                ]
            elif isinstance(comparison, EmbeddingComparison):
                wide = replace(comparison, visits=min(PROBES, comparison.buckets))
                tasks += [
                    ScatterTask(first + before + n, (shard,), wide, FIRST, self._key_bytes)
                    for n, shard in enumerate(self._embedded(number, one).shards)
                ]
            self._evaluation += [one.place] * (len(tasks) - before)
        if tasks:
            make = scatter_images if name == BY_HASH else scatter
            self._passes.run(f"scatter-{name}", make, tasks)
        return range(first, first + len(tasks))

    def _embedded(self, number: int, one: EvaluationSet) -> EmbeddingFolder:
        """Return the embeddings of a set, computed if it has images alone."""
        if one.embeddings is not None:
            return one.embeddings
        place = f"{self._passes.path}/evaluation-{number}"
        found = embed(self._options, self._source.model, one.place, place)
        if found is None:
            raise self._passes.ended(f"the images of {one.place} are not all embedded")
        return found

    def _ends(self, gathered: str, scattered: str) -> str | None:
        """Return the file of where chains of links end; None without chains."""
        ends = follow_chains(gathered, scattered, len(self._batches), self._key_bytes)
        if not len(ends):
            return None
        return self._write("ends", ends.tobytes())

    def _comparisons(self) -> Iterator[tuple[str, Comparison]]:
        """Yield the comparisons that are asked for, the most certain one first."""
        if self._options.by != BY_EMBEDDING:
            yield BY_HASH, self._hashes()
        if self._options.by != BY_HASH:
            yield BY_EMBEDDING, self._embeddings()

    def _hashes(self) -> HashComparison:
        assert self._images is not None
        shards = self._images.shards
        tasks = [HashTask(number, shard) for number, shard in enumerate(shards)]
        self._passes.run("hash", hash_images, tasks)
        folder = f"{self._passes.path}/hash"
        ranges = self._write("ranges", json.dumps(read_ranges(folder, len(shards))).encode())
        return HashComparison(HashFiles(folder, ranges), self._options.max_distance)

    def _embeddings(self) -> EmbeddingComparison:
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
            self._write("clusters", clusters.to_bytes())
        count = len(clusters.centers)
        visits = min(options.probes, count)
        path = f"{folder.path}/{name}"
        return EmbeddingComparison(path, count, dim, visits, options.threshold)

    def _write(self, name: str, data: bytes) -> str:
        """Write a file of the passes; return its path."""
        self._passes.build.folder.write_bytes(f"{self._passes.name}/{name}", data)
        return f"{self._passes.path}/{name}"


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
