"""Ranks: each shard is one rank's, whatever their number."""

from __future__ import annotations

import pytest

from img2ds.core.rank import ALONE, Rank


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("shards", [range(0), range(5), range(4, 23)])
def test_each_shard_has_one_owner(world_size: int, shards: range) -> None:
    ranks = [Rank(number, world_size) for number in range(world_size)]
    owners = [[rank for rank in ranks if rank.owns(shard)] for shard in shards]
    assert all(len(found) == 1 for found in owners)
    for rank in ranks:
        assert rank.share(shards) == sum(found == [rank] for found in owners)


def test_names() -> None:
    assert Rank.of_name(Rank(3, 12).name) == Rank(3, 12)
    assert Rank.of_name("node-1-42") is None
    assert ALONE.alone
    assert not Rank(0, 2).alone
