"""The plan of a release where SAMPLE_IDs collide, as they rarely do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from img2ds.core.failure import UsageError
from img2ds.core.pair_digest import pair_digests
from laion.data.digest import Words
from laion.data.embedding_folder import EmbeddingShard, open_embedding_folder
from laion.release import plan, stage, unique
from laion.release.plan import plan_release
from laion.release.unified_schema import as_schema, unified_schema
from laion.release.unique import UniquePairs, sample_ids
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
    monkeypatch.setattr("laion.release.pair_ranges.pair_digests", crowded)
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


def as_one_process(shards: Sequence[EmbeddingShard], folder: Path) -> list[tuple[list[int], Any]]:
    """The rows that are released of each shard, and their IDs: the rule, in a few lines."""
    folder.mkdir()
    pairs = UniquePairs(str(folder), 2 * unique.PARTITION_PAIRS)
    place = 0
    of_place: dict[int, tuple[int, int]] = {}
    found: list[list[tuple[int, int]]] = [[] for _ in shards]
    ids: dict[int, int] = {}
    for number, shard in enumerate(shards):
        table = shard.table(["url", "caption", "similarity"])
        kept = [n for n, value in enumerate(table["similarity"].to_pylist()) if value >= 0.3]
        chosen = table.take(pa.array(kept, pa.int64()))
        digests = pair_digests(chosen["url"].to_pylist(), chosen["caption"].to_pylist())
        places = np.arange(place, place + len(kept), dtype=np.uint64)
        pairs.add(places, digests)
        for at, row_of, own in zip(
            places.tolist(), kept, sample_ids(digests).tolist(), strict=True
        ):
            of_place[at], ids[at] = (number, row_of), own
        place += len(kept)
    for resolved in pairs.resolve():
        for at in resolved.repeated.tolist():
            del of_place[at]
        ids.update(resolved.moved)
    for at, (number, row_of) in sorted(of_place.items()):
        found[number].append((row_of, ids[at]))
    return [([n for n, _ in rows], [own for _, own in rows]) for rows in found]


@pytest.mark.parametrize(("batch", "processes"), [(1, 1), (3, 1), (3, 2)])
def test_tasks_find_what_one_process_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, processes: int
) -> None:
    """Repeated pairs within and across batches, rows below the threshold, several ranges."""
    monkeypatch.setattr(unique, "PARTITION_PAIRS", 20)
    monkeypatch.setattr(plan, "SMALL", 0)
    monkeypatch.setattr(plan, "BATCH_SHARDS", batch)
    dice = Random(4)
    rows = {
        place: [
            row(dice.randrange(40), similarity=dice.choice([0.1, 0.3, 0.4])) for _ in range(size)
        ]
        for place, size in enumerate([0, 9, 1, 17, 8, 3, 20])
    }
    write_tree(tmp_path / "in", rows)
    shards = open_embedding_folder(str(tmp_path / "in")).shards
    (tmp_path / "scratch").mkdir()
    tasks = plan_release(shards, 0.3, 1000, str(tmp_path / "scratch"), processes)
    pieces = [piece for task in tasks for piece in task.pieces]
    expected = as_one_process(shards, tmp_path / "one")
    for piece, (kept, ids) in zip(pieces, expected, strict=True):
        assert np.flatnonzero(piece.mask()).tolist() == kept
        table = piece.shard.table().filter(pa.array(piece.mask()))
        if kept:
            released = stage._released(table, piece, piece.mask())
            assert released["SAMPLE_ID"].to_pylist() == ids
        lost = piece.dropped["duplicate"] + piece.dropped["low_similarity"]
        assert len(kept) + lost == piece.rows
    assert sum(piece.dropped["duplicate"] for piece in pieces) > 5


def test_a_shard_that_cannot_be_read_ends_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SMALL", 0)
    write_tree(tmp_path / "in", {n: [row(n)] for n in range(4)})
    shards = open_embedding_folder(str(tmp_path / "in")).shards
    for path in (tmp_path / "in" / "metadata").glob("*2.parquet"):
        path.write_bytes(b"PAR1")
    for processes in (1, 2):
        scratch = tmp_path / f"scratch{processes}"
        scratch.mkdir()
        with pytest.raises(UsageError, match="cannot read the input to find repeated pairs"):
            plan_release(shards, 0.3, 1000, str(scratch), processes)


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
