"""Which of several vectors are kept: compared with one row after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from laion.dedup_images.embedding_comparison import EmbeddingComparison
from laion.dedup_images.leaders import Leaders
from tests.laion.dedup_images.planted_folder import near, unit

THRESHOLD = 0.95


def oracle(vectors: npt.NDArray[Any], threshold: float) -> list[int]:
    """The most similar kept row before each row, -1 for those that are kept."""
    kept: list[int] = []
    leaders = []
    for number, vector in enumerate(vectors):
        cosines = vectors[kept] @ vector if kept else np.empty(0)
        if len(cosines) and cosines.max() >= threshold:
            leaders.append(kept[int(cosines.argmax())])
        else:
            kept.append(number)
            leaders.append(-1)
    return leaders


def cosines(rows: Any, others: Any) -> npt.NDArray[np.float32]:
    """Those of unit vectors."""
    return np.asarray(rows @ others.T, np.float32)


def chains(rows: int, steps: int, seed: int) -> npt.NDArray[Any]:
    """Rows of which each is near the one before it, and less so the one before that; shuffled."""
    random = np.random.default_rng(seed)
    found = [unit(random.normal(size=(rows // steps, 32)))]
    for _ in range(steps - 1):
        found.append(near(found[-1], (0.94, 0.99), random))
    vectors = np.concatenate(found).astype(np.float32)
    return vectors[random.permutation(len(vectors))]


@pytest.mark.parametrize("block", [1, 7, 256, 300, 5000])
def test_it_is_what_a_row_at_a_time_gives(block: int) -> None:
    vectors = chains(1200, 6, seed=1)
    leaders = Leaders(THRESHOLD, cosines)
    blocks = [leaders.add(vectors[start : start + block]) for start in range(0, 1200, block)]
    found = np.concatenate([one.leader for one in blocks])
    assert found.tolist() == oracle(vectors, THRESHOLD)
    duplicates = np.flatnonzero(found >= 0)
    assert 200 < len(duplicates) < 1000
    closeness = np.concatenate([one.closeness for one in blocks])[duplicates]
    exact = (vectors[duplicates] * vectors[found[duplicates]]).sum(axis=1)
    np.testing.assert_allclose(closeness, exact, atol=1e-5)


def test_ten_thousand_equal_rows_have_one_leader() -> None:
    """Placeholders of hosters: no pairs of them are held."""
    vectors = np.repeat(unit(np.ones((1, 32))), 10_000, axis=0)
    found = Leaders(THRESHOLD, cosines).add(vectors)
    assert found.leader[0] == -1
    assert (found.leader[1:] == 0).all()


def test_lengths_do_not_count() -> None:
    vectors = np.array([[3, 4], [0.3, 0.4], [-3, -4], [4, 3]], np.float16)
    comparison = EmbeddingComparison("", 1, 2, 1, 0.99)
    found = comparison.leaders().add(comparison.prepare(vectors))
    assert found.leader.tolist() == [-1, 0, -1, -1]
    loose = Leaders(0.9, cosines)
    assert loose.add(comparison.prepare(vectors)).leader.tolist() == [-1, 0, -1, 0]
    assert not len(loose.add(comparison.prepare(vectors[:0])).leader)
