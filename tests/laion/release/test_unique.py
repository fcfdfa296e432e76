"""Unique pairs by partitions on disk, against a dictionary in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from img2ds.core.pair_digest import pair_digests
from laion.release import unique
from laion.release.unique import UniquePairs, resolve, sample_ids


def test_a_pair_is_its_url_and_its_text() -> None:
    digests = pair_digests(["http://a/", "http://a/", "http://b/"], ["x", "x", None])
    assert (digests[0] == digests[1]).all()
    expected = xxhash.xxh3_128_digest(b"http://a/\nx")
    assert digests[0].astype(">u8").tobytes() == expected
    assert sample_ids(digests)[0] == int.from_bytes(expected[:8], "big") >> 1


@pytest.mark.parametrize("pairs_a_partition", [3, 50, 10_000])
def test_repeated_pairs_are_found(
    pairs_a_partition: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unique, "PARTITION_PAIRS", pairs_a_partition)
    random = np.random.default_rng(1)
    numbers = random.integers(0, 400, 1000).tolist()
    digests = pair_digests([f"http://h/{n}" for n in numbers], ["text"] * 1000)
    pairs = UniquePairs(str(tmp_path), 1000)
    for start in range(0, 1000, 130):
        piece = digests[start : start + 130]
        pairs.add(np.arange(start, start + len(piece), dtype=np.uint64), piece)
    assert (len(list(tmp_path.iterdir())) > 1) == (pairs_a_partition < 1000)
    resolved = list(pairs.resolve())
    found = sorted(int(place) for one in resolved for place in one.repeated)
    assert found == [i for i, n in enumerate(numbers) if n in numbers[:i]]
    assert not any(one.moved for one in resolved)
    assert list(tmp_path.iterdir()) == []


#: Digests of four bits, so that pairs meet all the time: IDs 0 to 7, which is just enough.
DIGESTS = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 3)), min_size=1, max_size=8)
HIGHEST = 7


@given(DIGESTS, st.randoms(use_true_random=False))
def test_ids_that_meet_are_distinguished_whatever_the_order(
    digests: list[tuple[int, int]], random: np.random.Generator
) -> None:
    """Which ID a pair has follows from the set of pairs alone."""

    def ids(order: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
        records = np.array(
            [(high, low, place) for place, (high, low) in enumerate(order)],
            dtype=[("high", "<u8"), ("low", "<u8"), ("place", "<u8")],
        )
        resolved = resolve(records, HIGHEST)
        repeated = set(resolved.repeated.tolist())
        kept = {place: pair for place, pair in enumerate(order) if place not in repeated}
        assert len(kept) == len(set(order))
        assert all(order.index(pair) == place for place, pair in kept.items()), "the first counts"
        return {pair: resolved.moved.get(place, pair[0] >> 1) for place, pair in kept.items()}

    first = ids(digests)
    assert len(set(first.values())) == len(first)
    assert all(0 <= number <= HIGHEST for number in first.values())
    shuffled = list(digests)
    random.shuffle(shuffled)
    assert ids(shuffled) == first


def test_ids_at_the_end_of_a_partition_stay_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unique, "PARTITION_PAIRS", 2)
    last = 2**63 - 1  # the highest digest of the first of two partitions
    digests = np.array(
        [(last, 0), (last, 1), (last + 1, 0), (2**64 - 1, 0), (2**64 - 1, 1)], np.uint64
    )
    pairs = UniquePairs(str(tmp_path), 4)
    pairs.add(np.arange(5, dtype=np.uint64), digests)
    moved = {place: number for one in pairs.resolve() for place, number in one.moved.items()}
    ids = [moved.get(place, int(high) >> 1) for place, (high, _) in enumerate(digests.tolist())]
    assert ids == [last // 2 - 1, last // 2, (last + 1) // 2, 2**63 - 2, 2**63 - 1]


def test_partitions_are_open_files_and_so_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unique, "PARTITION_PAIRS", 1)
    monkeypatch.setattr(unique, "MAX_PARTITIONS", 4)
    UniquePairs(str(tmp_path), 100).close()
    assert len(list(tmp_path.iterdir())) == 4
