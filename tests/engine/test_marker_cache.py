"""The marker cache gives what the markers say, whatever became of it, and saves reading them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from img2ds.core.naming import stats_name
from img2ds.engine import marker_cache as module
from img2ds.engine.manifest import SegmentSpec, open_manifest
from img2ds.engine.marker import marker_json, total_counts
from img2ds.engine.marker_cache import MarkerCache
from img2ds.report.counters import Counts
from img2ds.storage import Listing, OutputFolder, StoredMarker, read_many

COUNT = 50


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 16)
    monkeypatch.setattr(module, "FEWEST", 8)


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> OutputFolder:
    if request.param == "s3":
        where = f"{request.getfixturevalue('s3')}/{tmp_path.name}"
        return OutputFolder.open(where, str(tmp_path / "staging"))
    return OutputFolder.open(str(tmp_path / "out"))


def content(number: int) -> bytes:
    return marker_json(Counts(100 + number), 0.0, 1.0, [])


def write(folder: OutputFolder, numbers: range) -> list[StoredMarker]:
    names = [stats_name(number, 5) for number in numbers]
    return [
        StoredMarker(name, data, folder.write_bytes(name, data))
        for name, data in zip(names, map(content, numbers), strict=True)
    ]


def fill(folder: OutputFolder) -> None:
    """Write markers, and the cache that a run would have written."""
    cache = MarkerCache(folder, Listing())
    for marker in write(folder, range(COUNT)):
        cache.add(marker)
    cache.close()


def read(folder: OutputFolder, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, bytes], int]:
    """What the cache gives, and how many markers were read from their own files."""
    own: list[str] = []

    def counted(of: OutputFolder, names: list[str], listed: Listing):  # type: ignore[no-untyped-def]
        own.extend(name for name in names if name.endswith(".json"))
        return read_many(of, names, listed)

    with monkeypatch.context() as patch:
        patch.setattr(module, "read_many", counted)
        found = dict(MarkerCache(folder).read())
    assert all(isinstance(data, bytes) for data in found.values())
    return found, len(own)  # type: ignore[return-value]


def truth() -> dict[str, bytes]:
    return {stats_name(number, 5): content(number) for number in range(COUNT)}


def test_markers_of_a_run_are_read_from_pieces(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder)
    found, own = read(folder, monkeypatch)
    assert found == truth()
    assert own == COUNT % 16, "a rest of fewer than FEWEST has no piece"
    assert total_counts(folder).count == sum(100 + number for number in range(COUNT))


def test_a_marker_that_was_replaced_or_removed_since_counts_as_it_is(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder)
    changed = content(3).replace(b"103", b"301")
    folder.write_bytes(stats_name(3, 5), changed)
    folder.remove([stats_name(4, 5)])
    found, own = read(folder, monkeypatch)
    expected = {**truth(), stats_name(3, 5): changed}
    del expected[stats_name(4, 5)]
    assert found == expected
    assert own == COUNT % 16 + 1


def test_a_damaged_piece_is_not_trusted(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder)
    for piece in MarkerCache(folder).pieces:
        folder.write_bytes(piece, folder.read_bytes(piece)[:-1] + b"?")
    assert read(folder, monkeypatch) == (truth(), COUNT)


def test_a_copied_folder_is_read_marker_by_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = OutputFolder.open(str(tmp_path))
    fill(folder)
    for name in truth():
        os.utime(tmp_path / name, (1, 1))
    assert read(folder, monkeypatch) == (truth(), COUNT)


def spec(mode: str = "incremental") -> SegmentSpec:
    fingerprint = {"files": [{"name": "a", "size": 1}]}
    return SegmentSpec(
        fingerprint=fingerprint, options={}, shard_count=COUNT, mode=mode, foreign=lambda *_: None
    )


def test_a_start_fills_the_cache_and_the_next_one_uses_it(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, range(COUNT))
    open_manifest(folder, spec()).begin()
    assert len(MarkerCache(folder).pieces) == COUNT // 16
    found, own = read(folder, monkeypatch)
    assert (found, own) == (truth(), COUNT % 16)


def test_pieces_that_hold_nothing_valid_are_removed(folder: OutputFolder) -> None:
    fill(folder)
    before = MarkerCache(folder).pieces
    folder.remove(truth())
    write(folder, range(100, 120))
    open_manifest(folder, spec()).begin()
    assert not set(before) & set(MarkerCache(folder).pieces)
    fill(folder)
    open_manifest(folder, spec("overwrite")).begin()
    assert not MarkerCache(folder).pieces


def test_shards_with_names_of_several_lengths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = OutputFolder.open(str(tmp_path))
    cache = MarkerCache(folder, Listing())
    markers = write(folder, range(99_990, 100_006))
    for marker in reversed(markers):
        cache.add(marker)
    cache.close()
    found, own = read(folder, monkeypatch)
    assert (found, own) == ({m.name: m.content for m in markers}, 0)
