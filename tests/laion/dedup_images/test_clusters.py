"""Clusters: which ones rows are in."""

from __future__ import annotations

import numpy as np

from laion.dedup_images.clusters import Clusters, nearest, train, unit
from tests.laion.dedup_images.planted_folder import near
from tests.laion.dedup_images.planted_folder import unit as normalized

RANDOM = np.random.default_rng(3)
#: Ten topics of 60 rows, which share a direction of twice their length.
TOPICS = normalized(RANDOM.normal(size=(10, 32)))
COMMON = normalized(RANDOM.normal(size=(1, 32)))
ROWS = normalized(2 * COMMON + np.repeat(TOPICS, 60, axis=0) + 0.05 * RANDOM.normal(size=(600, 32)))


def test_topics_become_clusters_in_spite_of_a_common_direction() -> None:
    clusters = train(ROWS, 30)
    rows, own = nearest(ROWS, clusters, 1, 0.1)
    assert rows.tolist() == list(range(600))
    topics = [set((rows[own == number] // 60).tolist()) for number in range(30)]
    assert all(len(topic) <= 1 for topic in topics)
    assert np.bincount(own, minlength=30).max() <= 60
    assert sum(map(bool, topics)) == 30  # none is wasted


def test_it_is_the_same_every_time_and_can_be_stored() -> None:
    clusters = train(ROWS, 7)
    again = Clusters.from_bytes(train(ROWS, 7).to_bytes(), 32)
    assert (clusters.centers == again.centers).all()
    assert (clusters.mean == again.mean).all()


def test_rows_at_a_border_are_in_both_clusters() -> None:
    centers = unit(np.array([[1, 0], [0, 1], [-1, 0]]))[0]
    clusters = Clusters(np.zeros(2, np.float32), centers)
    angles = np.radians([0, 40, 50, 89])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    # A direction of cosine 0.25 and length 0.5 leads 0.125 across, or 7 degrees.
    found = list(zip(*(part.tolist() for part in nearest(rows, clusters, 2, 0.5)), strict=True))
    assert sorted(found) == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (3, 1)]
    found = list(zip(*(part.tolist() for part in nearest(rows, clusters, 2, 0.1)), strict=True))
    assert sorted(found) == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert len(nearest(rows[:0], clusters, 2, 0.5)[0]) == 0


def test_a_second_cluster_finds_pairs_that_a_border_divides() -> None:
    rows = normalized(np.random.default_rng(5).normal(size=(2000, 32)))
    others = near(rows, (0.95, 0.95), np.random.default_rng(6))
    clusters = train(rows, 40)
    shares = []
    for count in (1, 2):
        both = [
            {(row, own) for row, own in zip(*map(list, found), strict=True)}
            for found in (nearest(part, clusters, count, 0.32) for part in (rows, others))
        ]
        shares.append(len({row for row, _ in both[0] & both[1]}) / len(rows))
    assert shares[0] < 0.9
    assert shares[1] > 0.98


def test_rows_without_a_direction() -> None:
    vectors, valid = unit(np.array([[0, 0], [np.nan, 1], [np.inf, 0], [3, 4]], np.float32))
    assert valid.tolist() == [False, False, False, True]
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[3], [0.6, 0.8])


def test_float16_is_what_numpy_makes_of_it() -> None:
    """All numbers, subnormal ones too; rows that are not finite have no direction."""
    numbers = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    rows = np.concatenate([numbers.reshape(-1, 32), np.zeros((1, 32), np.float16)])
    with np.errstate(over="ignore", invalid="ignore"):
        exact = rows.astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", exact, exact))[:, None]
    vectors, valid = unit(rows)
    expected = np.isfinite(rows).all(axis=1) & rows.any(axis=1)
    assert (valid == expected).all()
    assert (vectors[valid] == exact[valid] / lengths[valid]).all()
    assert not vectors[~valid].any()
