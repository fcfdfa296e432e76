"""The rows nearest to a vector: asked of an index, and put in their true order where it guesses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from laion.knn.ann import Ann
from laion.knn.vectors import VectorFiles, Vectors


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
    scores = np.full(ids.shape, -np.inf, np.float32)
    for line, found in enumerate(ids):
        there = found >= 0
        scores[line, there] = vectors.rows(found[there]) @ queries[line]
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
