"""Recall@10 of an index against exact search, on rows that it was not trained on.

A query's own row does not count: it would be found by any index. Queries of the other kind
(texts against pictures) are measured as well, since that is what people ask, and it is harder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from laion.knn.ann import Ann, exact_neighbours
from laion.knn.ranking import Setting, nearest, similarities
from laion.knn.vectors import VectorFiles, Vectors

K = 10

#: Queries for up to a million rows; fewer for more rows, so that exact search ends.
QUERIES = 1000
_QUERY_ROWS = 1_000_000 * QUERIES
_LEAST_QUERIES = 100
#: Of few rows most are needed for training: one in so many is asked with.
_LEAST_SHARE = 5

#: By how much two ways of summing up one product of unit vectors differ, at most.
_ROUNDING = 1e-5

#: Efforts tried, least first; what is more than an index has room for is left out.
EFFORTS = (16, 32, 64, 128, 256, 512, 1024)

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Measured:
    """Recall@10 at a setting, for queries of the same kind and, if there are any, of the other."""

    setting: Setting
    recall: float
    cross_recall: float | None

    def as_dict(self) -> dict[str, Any]:
        return {
            **asdict(self.setting),
            "recall": round(self.recall, 5),
            "cross_recall": None if self.cross_recall is None else round(self.cross_recall, 5),
        }

    @property
    def worst(self) -> float:
        return min(self.recall, 1.0 if self.cross_recall is None else self.cross_recall)


def held_out_rows(rows: int) -> Ids:
    """Rows that are asked with, sorted; the same ones for the same count."""
    count = min(max(_QUERY_ROWS // rows, _LEAST_QUERIES), QUERIES, max(rows // _LEAST_SHARE, 1))
    rng = np.random.default_rng(rows)
    return np.sort(rng.choice(rows, count, replace=False)).astype(np.int64)


def exact(
    queries: Vectors, own: Ids, vectors: VectorFiles, tell: Callable[[int], None]
) -> npt.NDArray[np.float32]:
    """How similar the K-th nearest row is to each query, its own row left out: [len(queries)].

    -inf where there are fewer rows than K.
    """
    best = np.full((len(queries), K + 1), -np.inf, np.float32)
    rows = np.full((len(queries), K + 1), -1, np.int64)
    for first, block in vectors.blocks(0, len(vectors)):
        scores, places = exact_neighbours(queries, block, min(K + 1, len(block)))
        best = np.concatenate([best, scores], 1)
        rows = np.concatenate([rows, places + first], 1)
        order = np.argsort(-best, axis=1, kind="stable")[:, : K + 1]
        best = np.take_along_axis(best, order, 1)
        rows = np.take_along_axis(rows, order, 1)
        tell(first + len(block))
    unrecognized = _strangers_first(rows, own)
    kth: npt.NDArray[np.float32] = np.take_along_axis(best, unrecognized, 1)[:, K - 1]
    return kth


def share_found(
    found: Ids, own: Ids, queries: Vectors, kth: npt.NDArray[np.float32], vectors: VectorFiles
) -> float:
    """Recall@K: of each query's K nearest rows, the share that is found, over all queries.

    A row counts by how similar it is: where many captions are the same, so are their vectors,
    and which of them are the K nearest is nobody's to say.

    Args:
        found: rows, best first [len(queries), K + 1]; -1 for none.
        kth: see `exact`.
    """
    found = np.take_along_axis(found, _strangers_first(found, own), 1)[:, :K]
    wanted = min(K, len(vectors) - int(own[0] >= 0))
    true = similarities(vectors, queries, found)
    hits = (true >= kth[:, np.newaxis] - _ROUNDING).sum(axis=1).clip(max=wanted)
    return float(hits.sum() / max(wanted * len(found), 1))


def _strangers_first(rows: Ids, own: Ids) -> npt.NDArray[np.intp]:
    """Of each line the places, in order, of which that line's own row comes last."""
    return np.argsort(rows == own[:, np.newaxis], axis=1, kind="stable")


def settings_to_try(index: Ann) -> list[Setting]:
    """From the cheapest to the most costly; one where there is nothing to choose."""
    if index.effort_name is None:
        return [Setting(None, 1 if index.is_exact else 10)]
    efforts = [effort for effort in EFFORTS if effort < index.most_effort]
    if index.effort_name == "nprobe":
        efforts = sorted({1, 2, 4, 8, *efforts, index.most_effort})
        efforts = [effort for effort in efforts if effort <= min(1024, index.most_effort)]
    else:
        efforts = efforts or [EFFORTS[0]]
    reranks = (1,) if index.is_exact else (10, 40)
    return [Setting(effort, rerank) for rerank in reranks for effort in efforts]


def tune(
    index: Ann,
    vectors: VectorFiles,
    held_out: Ids,
    others: VectorFiles | None,
    target: float,
    tell: Callable[[str, int], None],
) -> tuple[Setting, list[Measured]]:
    """The cheapest setting that reaches `target`, else the best one, and all that were measured."""
    own = vectors.rows(held_out)
    nobody = np.full(len(held_out), -1, np.int64)
    asked = [(own, held_out, exact(own, held_out, vectors, lambda n: tell("comparing", n)))]
    if others is not None:
        cross = others.rows(held_out)
        truth = exact(cross, nobody, vectors, lambda n: tell("comparing", n))
        asked.append((cross, nobody, truth))
    measured: list[Measured] = []
    settings = settings_to_try(index)
    for setting in settings:
        recalls = []
        for queries, mine, truth in asked:
            _, found = nearest(index, vectors, queries, K + 1, setting)
            recalls.append(share_found(found, mine, queries, truth, vectors))
        tell("measuring", len(measured))
        cross_recall = recalls[1] if others is not None else None
        measured.append(Measured(setting, recalls[0], cross_recall))
        if measured[-1].worst >= target:
            return setting, measured
    best = max(range(len(measured)), key=lambda place: measured[place].worst)
    return settings[best], measured
