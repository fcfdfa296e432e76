"""The rows nearest to a vector: asked of an index, and put in their true order where it guesses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from laion.knn.ann import Ann
from laion.knn.vectors import VectorFiles, Vectors

#: Rows whose vectors are read at once: 32 MB at 512 dimensions.
_GATHERED = 16_384


@dataclass(frozen=True, slots=True)
class Setting:
    """How much an index is asked to do.

    Attributes:
        effort: see `Ann.effort_name`.
        rerank: how many times the rows wanted are compared by their true vectors; 1 for none.
    """

    effort: int | None
    rerank: int


def nearest(
    index: Ann, vectors: VectorFiles, queries: Vectors, k: int, setting: Setting
) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Similarities and rows, each [len(queries), k], best first; row -1 where there are fewer."""
    if setting.rerank <= 1:
        return index.search(queries, k, setting.effort)
    _, ids = index.search(queries, min(k * setting.rerank, max(len(index), k)), setting.effort)
    scores = similarities(vectors, queries, ids)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)


def similarities(vectors: VectorFiles, queries: Vectors, ids: npt.NDArray[np.int64]) -> Vectors:
    """Of each query with each row on its line of `ids`; -inf for row -1. The shape of `ids`."""
    scores = np.empty(ids.shape, np.float32)
    step = max(_GATHERED // max(ids.shape[1], 1), 1)
    for start in range(0, len(ids), step):
        lines = ids[start : start + step]
        rows = vectors.rows(np.maximum(lines, 0).ravel()).reshape(*lines.shape, -1)
        scores[start : start + step] = np.einsum("qkd,qd->qk", rows, queries[start : start + step])
    scores[ids < 0] = -np.inf
    return scores
