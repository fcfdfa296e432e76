"""Compares images by their CLIP embeddings within k-means clusters, as SemDeDup does.

SemDeDup: Abbas et al. 2023, arXiv:2303.09540. There, too, a row is compared with those of its
nearest cluster; here it may also visit the next ones, which finds more pairs at their borders.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, sqrt
from typing import Any

import numpy as np
import pyarrow as pa

from img2ds.core.failure import UsageError
from img2ds.storage import read_whole
from laion.data.embedding_folder import EmbeddingShard
from laion.data.embedding_layout import IMAGES
from laion.dedup_images.clusters import SAMPLES, Clusters, Vectors, nearest, train, unit
from laion.dedup_images.comparison import Found, Rows, Signatures
from laion.dedup_images.leaders import Leaders

#: Shards that rows are sampled from, at most.
_SAMPLED = 100


@dataclass(frozen=True, slots=True)
class EmbeddingComparison:
    """See `Comparison`.

    Attributes:
        clusters: path of the clusters, see `Clusters.to_bytes`.
        visits: clusters that a row is compared in.
        threshold: least cosine of duplicates.
    """

    clusters: str
    buckets: int
    dim: int
    visits: int
    threshold: float
    reason: str = "near_duplicate"
    small: int = 0

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype((np.float16, (self.dim,)))

    def signatures(self, shard: EmbeddingShard, table: pa.Table) -> Signatures:
        """Return the embeddings of a shard's images."""
        array = shard.embeddings(IMAGES, table.num_rows)
        if table.num_rows and array.shape[1] != self.dim:
            raise UsageError(
                f"{shard.path(IMAGES)} has embeddings of {array.shape[1]} numbers, other shards of "
                f"{self.dim}: deduplicate what one model scored"
            )
        return array

    def place(self, block: Signatures) -> tuple[Rows, Rows]:
        """Return the rows that have a direction, and their nearest clusters."""
        vectors, valid = unit(block)
        rows = np.flatnonzero(valid)
        if len(rows) < len(vectors):
            vectors = vectors[rows]
        distance = sqrt(max(2 - 2 * self.threshold, 0))  # of unit vectors with that cosine
        found, own = nearest(vectors, _load(self.clusters, self.dim), self.visits, distance)
        return rows[found], own

    def prepare(self, signatures: Signatures) -> Vectors:
        """Return embeddings as unit vectors."""
        return unit(signatures)[0]

    def leaders(self) -> Leaders:
        """Return the kept rows of a new cluster."""
        return Leaders(self.threshold, _cosines)

    def small_buckets(self, signatures: Signatures, buckets: Rows) -> Found:
        """There are no small clusters."""
        raise NotImplementedError


def _cosines(rows: Signatures, others: Signatures) -> Vectors:
    return np.asarray(rows @ others.T)


def cluster_count(rows: int) -> int:
    """Return the number of clusters for which placing and comparing rows take about as long."""
    return max(1, round(sqrt(rows)))


def learn_clusters(
    shards: tuple[EmbeddingShard, ...], rows: int, clusters: int, dim: int
) -> Clusters:
    """Return clusters, learned from a sample of the rows.

    Args:
        rows: the rows of all shards, about.

    Raises:
        UsageError, OSError: a shard cannot be read.
    """
    chosen = shards[:: ceil(len(shards) / _SAMPLED)]
    wanted = SAMPLES * clusters
    step = max(1, rows * len(chosen) // len(shards) // wanted)
    parts = [part for part in _sampled(chosen, step) if len(part)]
    if not parts:
        return Clusters(np.zeros(dim, np.float32), np.zeros((1, dim), np.float32))
    if len({part.shape[1] for part in parts}) > 1:
        raise UsageError(
            "the input has embeddings of several lengths: deduplicate what one model scored"
        )
    return train(np.concatenate(parts), clusters)


def _sampled(shards: tuple[EmbeddingShard, ...], step: int) -> Iterator[Vectors]:
    for shard in shards:
        vectors, valid = unit(np.asarray(shard.embeddings(IMAGES)[::step]))
        yield vectors[valid]


@lru_cache(maxsize=1)
def _load(path: str, dim: int) -> Clusters:
    return Clusters.from_bytes(read_whole(path), dim)
