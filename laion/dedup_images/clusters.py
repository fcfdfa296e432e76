"""Clusters of unit vectors: spherical k-means on a sample, and the nearest clusters of rows.

numpy's matrix product on one core does five times the work of faiss's search, and takes no threads
or state with it into worker processes. Deterministic.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

#: Rounds of k-means: the clusters only have to keep similar images together.
ROUNDS = 6
#: Sampled rows a cluster.
SAMPLES = 32
#: The cosine of a direction that leads across a border to one that leads straight to it. Of all
#: directions in 60 dimensions, which embeddings of images use, one in 300 has more.
ALONG = 0.35
#: How far apart centers can be: they are unit vectors.
_FARTHEST = 2.0
#: The exponent of a float16 that is no finite number; what shifting a negative one 13 bits to the
#: left leaves of copies of its sign, and the power of two between the biases of exponents.
_SPECIAL, _NOT_SIGN_COPIES = np.int32(0x7C00), np.int32(~0x70000000)
_REBIAS = np.float32(2.0**112)
#: Similarities held at once, which fit the cache of a core, and rows at least.
_SCORES, _ROWS = 1 << 19, 256

Vectors = npt.NDArray[np.float32]


def unit(rows: npt.NDArray[Any]) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """Return rows as unit vectors, and which of them have a direction; the others become zero."""
    vectors = np.empty(rows.shape, np.float32)
    valid = np.empty(len(rows), np.bool_)
    for start in range(0, len(rows), _ROWS):  # few, so that they stay in the cache of the core
        chosen = slice(start, start + _ROWS)
        block = vectors[chosen]
        with np.errstate(over="ignore", invalid="ignore"):
            _to_float32(rows[chosen], block)
            lengths = np.sqrt(np.einsum("ij,ij->i", block, block))
        good = np.isfinite(lengths) & (lengths > 0)
        valid[chosen] = good
        if not good.all():
            block[~good] = 0
            lengths[~good] = 1
        block /= lengths[:, None]
    return vectors, valid


def _to_float32(rows: npt.NDArray[Any], out: Vectors) -> None:
    """Convert rows; of float16 in a sixth of the time that numpy takes."""
    if rows.dtype != np.float16:
        np.copyto(out, rows, casting="unsafe")
        return
    bits = rows.view(np.int16).astype(np.int32)
    special = (bits & _SPECIAL) == _SPECIAL
    # The bits of a float32, but for the exponent's bias: a product with a power of two is exact.
    bits <<= 13
    bits &= _NOT_SIGN_COPIES
    np.multiply(bits.view(np.float32), _REBIAS, out=out)
    if special.any():
        out[special] = np.nan


class Clusters(NamedTuple):
    """Clusters of the directions in which unit vectors differ from their mean.

    Embeddings of images point roughly the same way: without that part the clusters would be of
    very different sizes, and a row is compared with all of its cluster.
    """

    mean: Vectors
    centers: Vectors

    def to_bytes(self) -> bytes:
        """Return the clusters as float32 rows, the mean first."""
        return np.vstack([self.mean, self.centers]).astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, dim: int) -> Clusters:
        """Return the clusters that `to_bytes` wrote."""
        rows = np.frombuffer(data, "<f4").reshape(-1, dim).astype(np.float32)
        return cls(rows[0], rows[1:])


def train(sample: Vectors, clusters: int, seed: int = 0) -> Clusters:
    """Return at most `clusters` clusters of unit vectors, which are not none."""
    random = np.random.default_rng(seed)
    mean = sample.mean(axis=0)
    sample, _ = unit(sample - mean)
    clusters = min(clusters, len(sample))
    centers = sample[np.sort(random.choice(len(sample), clusters, replace=False))]
    for _ in range(ROUNDS):
        own, score = _nearest(sample, centers)
        order = np.argsort(own, kind="stable")
        there, starts = np.unique(own[order], return_index=True)
        sums, valid = unit(np.add.reduceat(sample[order], starts, axis=0))
        centers = centers.copy()
        centers[there[valid]] = sums[valid]
        empty = np.setdiff1d(np.arange(clusters), there)
        centers[empty] = sample[np.argsort(score, kind="stable")[: len(empty)]]
    return Clusters(mean, centers)


def nearest(
    rows: Vectors, clusters: Clusters, count: int, distance: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return in which clusters unit vectors are: the nearest, and next ones with a close border.

    The border of two clusters is close if a row moved by `distance` crosses it, unless the
    direction is nearly along it: by more than `ALONG`.

    Args:
        count: clusters of a row, at most.
        distance: how far duplicates are from each other, at most.

    Returns:
        Numbers of rows, and a cluster of each; a row is there once or several times.
    """
    centers = clusters.centers
    found: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]] = []
    for start, scores in _scores(rows, centers, clusters.mean):
        numbers = np.arange(len(scores))
        own = scores.argmax(axis=1)
        best = scores[numbers, own]
        found.append((start + numbers, own))
        following = own
        for _ in range(count - 1):
            scores[numbers, following] = -np.inf
            following = scores.argmax(axis=1)
            behind = best - scores[numbers, following]
            near = np.flatnonzero(behind < ALONG * distance * _FARTHEST)
            apart = np.linalg.norm(centers[own[near]] - centers[following[near]], axis=1)
            near = near[behind[near] < ALONG * distance * apart]
            found.append((start + near, following[near]))
    if not found:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    return np.concatenate([rows for rows, _ in found]), np.concatenate([own for _, own in found])


def _nearest(rows: Vectors, centers: Vectors) -> tuple[npt.NDArray[np.intp], Vectors]:
    own = np.empty(len(rows), np.intp)
    best = np.empty(len(rows), np.float32)
    for start, scores in _scores(rows, centers):
        end = start + len(scores)
        own[start:end] = scores.argmax(axis=1)
        best[start:end] = scores[np.arange(len(scores)), own[start:end]]
    return own, best


def _scores(
    rows: Vectors, centers: Vectors, mean: Vectors | None = None
) -> Iterator[tuple[int, Vectors]]:
    """Yield the first of some rows, and their similarities, which the next ones replace."""
    step = max(_ROWS, _SCORES // len(centers))
    scores = np.empty((min(step, len(rows)), len(centers)), np.float32)
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        if mean is not None:
            block = block - mean
        yield start, np.matmul(block, centers.T, out=scores[: len(block)])
