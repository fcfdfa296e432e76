"""The rows nearest to a vector: candidates of an index, reranked by their exact similarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from laion.knn.ann_index import AnnIndex, Ids, Vectors
from laion.knn.vectors import VectorFiles

#: Rows whose vectors are read at once: 8 MB at 512 dimensions.
_GATHERED_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Setting:
    """How an index is searched.

    Attributes:
        effort: see `AnnIndex.effort_name`.
        rerank: candidates for each wanted row, compared by their exact vectors; 1 for no reranking.
        pool: candidates compared in all, at least. Each is a page to read from a disk.
    """

    effort: int | None
    rerank: int
    pool: int = 0

    def candidates(self, wanted: int) -> int:
        """Return how many rows of the index are looked at for so many wanted rows."""
        return max(wanted * self.rerank, self.pool)


def nearest(
    index: AnnIndex, vectors: VectorFiles, queries: Vectors, k: int, setting: Setting
) -> tuple[Vectors, Ids]:
    """Find the `k` rows nearest to each query.

    Returns:
        Similarities and rows, each [len(queries), k], best first; row -1 where there are fewer.
    """
    if setting.rerank <= 1 and not setting.pool:
        return index.search(queries, k, setting.effort)
    count = min(setting.candidates(k), max(len(index), k))
    _, ids = index.search(queries, count, setting.effort)
    scores = similarities(vectors, queries, ids)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)


def similarities(vectors: VectorFiles, queries: Vectors, ids: Ids) -> Vectors:
    """Compute the similarity of each query with each row on its line of `ids`; -inf for row -1."""
    scores = np.empty(ids.shape, np.float32)
    step = max(_GATHERED_ROWS // max(ids.shape[1], 1), 1)
    for start in range(0, len(ids), step):
        lines = ids[start : start + step]
        rows = vectors.rows(np.maximum(lines, 0).ravel()).reshape(*lines.shape, -1)
        scores[start : start + step] = np.einsum("qkd,qd->qk", rows, queries[start : start + step])
    scores[ids < 0] = -np.inf
    return scores
