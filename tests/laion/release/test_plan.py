"""The plan of a release where SAMPLE_IDs collide, as they rarely do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from laion.data.digest import Words, pair_digests
from laion.data.embedding_folder import open_embedding_folder
from laion.release import stage
from laion.release.plan import plan_release
from laion.release.unified_schema import as_schema, unified_schema
from tests.laion.embedding_folders import row, write_tree


def crowded(urls: list[str], texts: list[str]) -> Words:
    """Digests of which three pairs each share the bits of an ID."""
    digests = pair_digests(urls, texts)
    numbers = [int(url.rpartition("/")[2].removesuffix(".jpg")) for url in urls]
    digests[:, 0] = [1000 + 2 * (number // 3) for number in numbers]
    return digests


@pytest.mark.parametrize("sizes", [(12,), (5, 7), (1, 10, 1)])
def test_colliding_ids_differ_and_do_not_depend_on_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...]
) -> None:
    monkeypatch.setattr("laion.release.plan.pair_digests", crowded)
    monkeypatch.setattr(stage, "pair_digests", crowded)
    # A row below the threshold in front: places of rows are not places of kept rows.
    rows = [[row(99, similarity=0.1)] if place != 1 else [] for place in range(len(sizes))]
    numbers = iter(range(sum(sizes)))
    for own, size in zip(rows, sizes, strict=True):
        own += [row(next(numbers)) for _ in range(size)]
    write_tree(tmp_path / "in", dict(enumerate(rows)))
    shards = open_embedding_folder(str(tmp_path / "in")).shards
    (tmp_path / "scratch").mkdir()
    tasks = plan_release(shards, 0.3, 1, str(tmp_path / "scratch"))
    found: dict[str, int] = {}
    for piece in (piece for task in tasks for piece in task.pieces):
        mask = piece.mask()
        table = stage._released(piece.shard.table().filter(pa.array(mask)), piece, mask)
        found |= zip(table["URL"].to_pylist(), table["SAMPLE_ID"].to_pylist(), strict=True)
    assert len(set(found.values())) == len(found) == sum(sizes)
    plain = {500 + number for number in range(4)}
    assert plain < set(found.values()), "one pair of each three keeps its ID"
    digests = crowded(list(found), [f"image {n}" for n in range(12)])
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ids = np.array(list(found.values()))[order]
    assert (np.diff(ids) > 0).all(), "the others move up in the order of their digests"


@pytest.mark.parametrize(
    ("types", "wanted"),
    [
        ([pa.int32(), pa.int64()], pa.int64()),
        ([pa.int64(), pa.float64()], pa.float64()),
        ([pa.int64(), pa.null()], pa.int64()),
        ([pa.bool_(), pa.int64()], pa.string()),
        ([pa.null()], pa.string()),
    ],
)
def test_columns_of_several_types_get_one_that_holds_all(types: list[Any], wanted: Any) -> None:
    schema = unified_schema([pa.schema([("x", kind)]) for kind in types])
    assert schema == pa.schema([("x", wanted)])
    table = as_schema(pa.table({"y": [1]}), schema)
    assert table.to_pylist() == [{"x": None}]
