"""Recall@10 of an index against exact search, on rows that it was not trained on.

A query's own row does not count: every index would find it. Queries of the other kind (texts
against images) are measured as well: people search that way, and it is harder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from laion.knn.ann_index import AnnIndex, Ids, Vectors
from laion.knn.faiss_index import exact_neighbors
from laion.knn.ranking import Setting, nearest, similarities
from laion.knn.vectors import VectorFiles

K = 10

#: Queries for up to a million rows; fewer for more rows, to limit the time of exact search.
QUERIES = 1000
_QUERY_ROWS = 1_000_000 * QUERIES
_MIN_QUERIES = 100
#: Small indices need most rows for training: one row in so many is a query.
_ROWS_PER_QUERY = 5

#: The largest difference between two ways of computing one product of unit vectors.
_ROUNDING = 1e-5

#: Efforts tried, in this order; those above an index's `max_effort` are left out.
EFFORTS = (16, 32, 64, 128, 256, 512, 1024)

#: Lists searched and vectors compared where both are read from a disk.
DISK_EFFORTS = (4, 8, 16, 32, 64, 128, 256, 512)
POOLS = (64, 128, 256, 512, 1024, 2048)
#: Vectors that are read in the time that a list takes.
_LIST_COST = 4


@dataclass(frozen=True, slots=True)
class Measurement:
    """Recall@10 at a setting.

    Attributes:
        recall: of queries of the index's own kind.
        cross_recall: of queries of the other kind; None if there are none.
    """

    setting: Setting
    recall: float
    cross_recall: float | None

    def as_dict(self) -> dict[str, Any]:
        setting = asdict(self.setting)
        if not self.setting.pool:
            del setting["pool"]
        return {
            **setting,
            "recall": round(self.recall, 5),
            "cross_recall": None if self.cross_recall is None else round(self.cross_recall, 5),
        }

    @property
    def worst(self) -> float:
        return min(self.recall, 1.0 if self.cross_recall is None else self.cross_recall)


def held_out_rows(rows: int) -> Ids:
    """Draw the sorted rows that serve as queries; the same ones for the same count."""
    most = max(rows // _ROWS_PER_QUERY, 1)
    count = min(max(_QUERY_ROWS // rows, _MIN_QUERIES), QUERIES, most)
    rng = np.random.default_rng(rows)
    return np.sort(rng.choice(rows, count, replace=False)).astype(np.int64)


def kth_similarity(
    queries: Vectors, own: Ids, vectors: VectorFiles, report: Callable[[int], None]
) -> npt.NDArray[np.float32]:
    """Compute how similar the K-th nearest row is to each query, its own row excluded.

    Args:
        own: the row of each query; -1 for none.
        report: called with the number of rows compared so far.

    Returns:
        float32 [len(queries)]; -inf where there are fewer rows than K.
    """
    best = np.full((len(queries), K + 1), -np.inf, np.float32)
    rows = np.full((len(queries), K + 1), -1, np.int64)
    for first, block in vectors.blocks(0, len(vectors)):
        scores, places = exact_neighbors(queries, block, min(K + 1, len(block)))
        best = np.concatenate([best, scores], 1)
        rows = np.concatenate([rows, places + first], 1)
        order = np.argsort(-best, axis=1, kind="stable")[:, : K + 1]
        best = np.take_along_axis(best, order, 1)
        rows = np.take_along_axis(rows, order, 1)
        report(first + len(block))
    kth: npt.NDArray[np.float32] = np.take_along_axis(best, _own_row_last(rows, own), 1)[:, K - 1]
    return kth


def recall_at_k(
    found: Ids, own: Ids, queries: Vectors, kth: npt.NDArray[np.float32], vectors: VectorFiles
) -> float:
    """Compute recall@K: the share of each query's K nearest rows that was found, over all queries.

    A row counts if it is as similar as the K-th nearest: equal captions have equal vectors, and
    any of them may be among the K nearest.

    Args:
        found: rows, best first [len(queries), K + 1]; -1 for none.
        own: the row of each query; -1 for none.
        kth: see `kth_similarity`.
    """
    found = np.take_along_axis(found, _own_row_last(found, own), 1)[:, :K]
    wanted = min(K, len(vectors) - int(own[0] >= 0))
    true = similarities(vectors, queries, found)
    hits = (true >= kth[:, np.newaxis] - _ROUNDING).sum(axis=1).clip(max=wanted)
    return float(hits.sum() / max(wanted * len(found), 1))


def _own_row_last(rows: Ids, own: Ids) -> npt.NDArray[np.intp]:
    """Return an order of each line that moves the line's own row to the end."""
    return np.argsort(rows == own[:, np.newaxis], axis=1, kind="stable")


def settings_to_try(index: AnnIndex) -> list[Setting]:
    """List settings from the cheapest to the most expensive; one if nothing can be chosen."""
    if index.on_disk:
        # A list takes as long to read and to search as some vectors that are anywhere.
        efforts = [effort for effort in DISK_EFFORTS if effort < index.max_effort]
        efforts = efforts or [index.max_effort]
        settings = [Setting(effort, 1, pool) for pool in POOLS for effort in efforts]
        return sorted(settings, key=lambda each: each.pool + _LIST_COST * (each.effort or 0))
    if index.effort_name is None:
        return [Setting(None, 1 if index.is_exact else 10)]
    efforts = [effort for effort in EFFORTS if effort < index.max_effort]
    if index.effort_name == "nprobe":
        efforts = sorted({1, 2, 4, 8, *efforts, index.max_effort})
        efforts = [effort for effort in efforts if effort <= min(1024, index.max_effort)]
    else:
        efforts = efforts or [EFFORTS[0]]
    reranks = (1,) if index.is_exact else (10, 40)
    return [Setting(effort, rerank) for rerank in reranks for effort in efforts]


def tune(
    index: AnnIndex,
    vectors: VectorFiles,
    held_out: Ids,
    others: VectorFiles | None,
    target: float,
    report: Callable[[str, int], None],
) -> tuple[Setting, list[Measurement]]:
    """Find the cheapest setting that reaches the recall `target`, else the best one.

    Args:
        held_out: rows whose vectors are the queries.
        others: vectors of the other kind for the same rows, if there are any.
        report: called with the step and its progress.

    Returns:
        The setting, and all that were measured.
    """

    def truth(queries: Vectors, own: Ids) -> tuple[Vectors, Ids, Vectors]:
        return queries, own, kth_similarity(queries, own, vectors, lambda n: report("comparing", n))

    query_sets = [truth(vectors.rows(held_out), held_out)]
    if others is not None:
        query_sets.append(truth(others.rows(held_out), np.full(len(held_out), -1, np.int64)))
    measured: list[Measurement] = []
    for setting in settings_to_try(index):
        recalls = []
        for queries, own, kth in query_sets:
            _, found = nearest(index, vectors, queries, K + 1, setting)
            recalls.append(recall_at_k(found, own, queries, kth, vectors))
        report("measuring", len(measured))
        measured.append(Measurement(setting, recalls[0], recalls[1] if len(recalls) > 1 else None))
        if measured[-1].worst >= target:
            return setting, measured
    best = max(measured, key=lambda each: each.worst)
    return best.setting, measured
