"""One vector for a query of several texts and images: their weighted sum. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from laion.knn.ann_index import Vectors

#: Weights of what a query has besides its text, which weighs 1. A negative text of equal weight
#: would leave little of a query that shares words with it.
IMAGE_WEIGHT = 1.0
NEGATIVE_WEIGHT = 0.5

#: The largest weight. An image of this weight beside a text is almost the image alone.
MAX_WEIGHT = 10.0

#: Sums shorter than this are rounding errors of float16 embeddings, without a direction.
_LEAST_LENGTH = 1e-3


class EmptyQueryError(ValueError):
    """The parts of a query cancel out."""


def combine(parts: Sequence[tuple[Vectors, float]]) -> Vectors:
    """Return the unit vector of a weighted sum.

    Args:
        parts: unit vectors with their weights; those of negative parts are below 0.

    Raises:
        EmptyQueryError: the sum is zero.
    """
    if len(parts) == 1 and parts[0][1] > 0:
        return parts[0][0]
    total = np.sum([weight * vector for vector, weight in parts], axis=0, dtype=np.float32)
    length = float(np.linalg.norm(total))
    if length < _LEAST_LENGTH:
        raise EmptyQueryError("the parts of the query cancel out: change a text or a weight")
    unit: Vectors = total / length
    return unit
