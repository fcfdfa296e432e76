"""What a folder holds: resuming, refusing, extending, overwriting, img2dataset's shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from img2ds.core.failure import UsageError
from img2ds.core.sample import FileRecord
from img2ds.core.state import MANIFEST
from img2ds.engine.fingerprint import difference
from img2ds.engine.manifest import (
    Manifest,
    SegmentSpec,
    follow_sizes,
    open_manifest,
)
from img2ds.engine.marker import marker_json
from img2ds.report.tally import Tally
from img2ds.storage import OutputFolder
from tests.state import data_names

OPTIONS = {"image_size": 256, "encode_format": "jpg"}


def fingerprint(name: str = "a.txt", size: int = 100) -> dict[str, Any]:
    file = {"name": name, "size": size, "digest": "00", "rows": None, "schema": {"url": "text"}}
    return {"format": "txt", "max_rows": None, "files": [file]}


def open_(
    path: Path,
    mode: str = "incremental",
    *,
    of: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    shards: int | None = 3,
    holds: str | None = "it is not",
) -> Manifest:
    wanted = SegmentSpec(
        fingerprint=of or fingerprint(), options=options or OPTIONS, shard_count=shards, mode=mode,
        foreign=lambda folder, committed: holds,
    )  # fmt: skip
    manifest = open_manifest(OutputFolder.open(str(path)), wanted)
    manifest.begin()
    return manifest


def commit(path: Path, *numbers: int) -> None:
    for number in numbers:
        data = [f"{number:05d}{suffix}" for suffix in (".tar", ".parquet")]
        for name in data:
            (path / name).write_text("{}")
        records = [FileRecord(name, 2, "") for name in data]
        marker = marker_json(Tally(), 0, 0, records)
        (path / f"{number:05d}_stats.json").write_bytes(marker)


def names(path: Path) -> list[str]:
    return sorted(data_names(path))


def test_a_new_folder_begins_at_zero(tmp_path: Path) -> None:
    manifest = open_(tmp_path / "new")
    assert (manifest.segment.first_shard, manifest.committed_here()) == (0, set())
    document = json.loads((tmp_path / "new" / MANIFEST).read_text())
    assert document["segments"][0]["fingerprint"] == fingerprint()


def test_resuming_finds_what_is_committed_and_removes_leftovers(tmp_path: Path) -> None:
    open_(tmp_path)
    commit(tmp_path, 0, 2)
    (tmp_path / "00001.tar").write_text("half")
    (tmp_path / "00001.parquet").write_text("half")
    (tmp_path / "2014").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    assert open_(tmp_path).committed_here() == {0, 2}
    left = names(tmp_path)
    assert not [name for name in left if name.startswith("00001")]
    assert {"00000.tar", "00002_stats.json", "2014", "notes.txt"} <= set(left)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("00001_stats.json", b"", "00001_stats.json is empty"),
        ("00001_stats.json", b'{"count": 1', "in 00001_stats.json, it is not JSON, or is cut off"),
        ("00001_stats.json", b"[]", "in 00001_stats.json, it has no"),
        ("00001.tar", b"{", "00001.tar has 1 bytes, its commit marker has 2"),
        ("00001.parquet", None, "00001.parquet is missing"),
    ],
)
def test_a_marker_without_its_files_is_no_commit(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    open_(tmp_path)
    commit(tmp_path, 0, 1)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    manifest = open_(tmp_path)
    assert manifest.committed_here() == {0}
    assert list(manifest.damaged) == [1]
    assert words in manifest.damaged[1]
    assert names(tmp_path) == ["00000.parquet", "00000.tar", "00000_stats.json"]


def test_other_options_are_refused(tmp_path: Path) -> None:
    open_(tmp_path)
    commit(tmp_path, 0)
    with pytest.raises(UsageError, match=r"--image_size 512, there 256"):
        open_(tmp_path, options={**OPTIONS, "image_size": 512})
    with pytest.raises(UsageError, match=r"other options"):
        open_(tmp_path, "extend", of=fingerprint("b.txt"), options={**OPTIONS, "image_size": 512})


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (fingerprint(size=200), "a.txt has 200 bytes, there 100"),
        (fingerprint("b.txt"), "there a.txt"),
        ({**fingerprint(), "max_rows": 5}, "--max_rows 5, there not given"),
        ({**fingerprint(), "format": "csv"}, "--input_format csv, there txt"),
    ],
)
def test_another_input_is_refused(tmp_path: Path, other: dict[str, Any], words: str) -> None:
    open_(tmp_path)
    commit(tmp_path, 0)
    with pytest.raises(UsageError, match=words):
        open_(tmp_path, of=other)


def test_a_run_without_commits_fixes_no_options(tmp_path: Path) -> None:
    open_(tmp_path)
    (tmp_path / "00000.tar").write_text("half")
    manifest = open_(tmp_path, of=fingerprint("b.txt"), options={"image_size": 1})
    assert len(manifest.segments) == 1
    assert names(tmp_path) == []


def save_partial(path: Path, *numbers: int) -> None:
    partial = path / ".img2ds" / "partial" / str(numbers[0] % 2)
    partial.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        for suffix in (".tar", "_rows.parquet", "_input.parquet", "_stats.json"):
            (partial / f"{number:05d}{suffix}").write_text("{}")
    (partial / "00009.tar").write_text("half")


def partial_files(path: Path) -> set[str]:
    return {entry.name[:5] for entry in (path / ".img2ds").glob("partial/*/*")}


def test_partial_shards_are_kept_for_the_run_that_completes_them(tmp_path: Path) -> None:
    open_(tmp_path)
    save_partial(tmp_path, 0, 1)
    open_(tmp_path)  # nothing is committed yet
    assert partial_files(tmp_path) == {"00000", "00001"}
    commit(tmp_path, 1)
    open_(tmp_path)
    assert partial_files(tmp_path) == {"00000"}
    open_(tmp_path, "extend", of=fingerprint("b.txt"))
    assert partial_files(tmp_path) == {"00000"}
    save_partial(tmp_path, 4)
    open_(tmp_path, "extend", of=fingerprint("b.txt"))
    assert partial_files(tmp_path) == {"00000", "00004"}
    open_(tmp_path, "overwrite")
    assert partial_files(tmp_path) == set()
    assert not (tmp_path / ".img2ds" / "partial").exists()


@pytest.mark.parametrize("how", [{"of": fingerprint("b.txt")}, {"options": {"image_size": 1}}])
def test_partial_shards_of_something_else_are_not_lost(tmp_path: Path, how: dict[str, Any]) -> None:
    """Another list or other options are refused, though nothing is committed yet."""
    open_(tmp_path)
    save_partial(tmp_path, 0, 1)
    with pytest.raises(UsageError):
        open_(tmp_path, **how)
    assert partial_files(tmp_path) >= {"00000", "00001"}
    open_(tmp_path, "overwrite", **how)
    assert partial_files(tmp_path) == set()


def test_overwrite_removes_shards_and_nothing_else(tmp_path: Path) -> None:
    open_(tmp_path)
    commit(tmp_path, 0, 1, 2)
    (tmp_path / "notes.txt").write_text("mine")
    manifest = open_(tmp_path, "overwrite", of=fingerprint("b.txt"))
    assert names(tmp_path) == ["notes.txt"]
    assert manifest.committed_here() == set()


def test_extend_appends_and_a_killed_extend_resumes_its_segment(tmp_path: Path) -> None:
    open_(tmp_path)
    commit(tmp_path, 0, 1, 2)
    manifest = open_(tmp_path, "extend", of=fingerprint("b.txt"), shards=2)
    assert manifest.segment.first_shard == 3
    commit(tmp_path, 4)
    for mode in ("extend", "incremental"):
        again = open_(tmp_path, mode, of=fingerprint("b.txt"), shards=2)
        assert (again.segment.first_shard, again.committed_here()) == (3, {4})
    first = open_(tmp_path)
    assert (first.segment.first_shard, first.committed_here()) == (0, {0, 1, 2})
    third = open_(tmp_path, "extend", of=fingerprint("c.txt"), shards=1)
    assert third.segment.first_shard == 5


def test_extend_behind_a_stream_that_was_not_read_to_its_end(tmp_path: Path) -> None:
    manifest = open_(tmp_path, shards=None)
    commit(tmp_path, 0)
    with pytest.raises(UsageError, match="finish it first"):
        open_(tmp_path, "extend", of=fingerprint("b.txt"))
    manifest.set_shard_count(1)
    assert open_(tmp_path, "extend", of=fingerprint("b.txt")).segment.first_shard == 1


def test_shards_without_a_manifest_are_accepted_when_they_match(tmp_path: Path) -> None:
    commit(tmp_path, 0, 1)
    with pytest.raises(UsageError, match=r"do not belong to this input \(it is not\)"):
        open_(tmp_path)
    assert names(tmp_path)[0] == "00000.parquet"
    manifest = open_(tmp_path, holds=None)
    assert manifest.from_img2dataset
    assert manifest.committed_here() == {0, 1}


def test_unrecognized_files_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "00000.parquet").write_text("somebody's input")
    with pytest.raises(UsageError, match=r"holds 00000\.parquet"):
        open_(tmp_path)
    assert names(tmp_path) == ["00000.parquet"]


@pytest.mark.parametrize("text", ["", "{}", '{"version": 1}', '{"version": 1, "segments": [{}]}'])
def test_a_damaged_manifest_is_reported(tmp_path: Path, text: str) -> None:
    open_(tmp_path)
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(UsageError, match=r"\.img2ds-manifest is damaged"):
        open_(tmp_path)


def test_a_manifest_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    open_(tmp_path)
    (tmp_path / MANIFEST).write_text('{"version": 2, "segments": []}')
    with pytest.raises(UsageError, match="another version"):
        open_(tmp_path)


def test_inspecting_changes_nothing(tmp_path: Path) -> None:
    open_(tmp_path)
    commit(tmp_path, 0)
    (tmp_path / "00001.tar").write_text("half")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for mode in ("incremental", "overwrite", "extend"):
        wanted = SegmentSpec(
            fingerprint=fingerprint(), options=OPTIONS, shard_count=3, mode=mode,
            foreign=lambda *_: None,
        )  # fmt: skip
        open_manifest(OutputFolder.open(str(tmp_path)), wanted)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(("digits", "name", "refused"), [(5, "00002", True), (5, "2014", False),
                                                         (None, "00002", False)])  # fmt: skip
def test_a_folder_of_somebody_else_is_not_replaced(
    tmp_path: Path, digits: int | None, name: str, refused: bool
) -> None:
    """Where shards are folders, one with a shard's name."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "diary.txt").write_text("mine")
    wanted = SegmentSpec(
        fingerprint=fingerprint(), options=OPTIONS, shard_count=3, folder_digits=digits
    )
    if refused:
        with pytest.raises(UsageError, match=f"{name} has a shard's name but was not written by"):
            open_manifest(OutputFolder.open(str(tmp_path)), wanted)
    else:
        assert open_manifest(OutputFolder.open(str(tmp_path)), wanted).leftovers == []


def test_sizes_of_input_files_are_followed(tmp_path: Path) -> None:
    manifest = open_(tmp_path)
    commit(tmp_path, 0)
    follow_sizes(manifest.folder, {"a.txt": 90, "never.txt": 1})
    assert open_(tmp_path, of=fingerprint(size=90)).committed_here() == {0}
    before = (tmp_path / MANIFEST).stat().st_mtime_ns
    follow_sizes(manifest.folder, {"a.txt": 90})
    assert (tmp_path / MANIFEST).stat().st_mtime_ns == before, "nothing to change"


def test_markers_are_removed_before_the_files_they_stand_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_(tmp_path)
    commit(tmp_path, 0, 1)
    removed: list[str] = []
    monkeypatch.setattr(OutputFolder, "remove", lambda folder, names: removed.extend(names))
    open_(tmp_path, "overwrite")
    assert removed[:2] == ["00000_stats.json", "00001_stats.json"]


@pytest.mark.parametrize(
    ("there", "now", "words"),
    [
        ({"captions": True}, {"captions": False}, "--caption_col not given, there given"),
        ({"image_size": 256}, {"image_size": 64}, "--image_size 64, there 256"),
        ({"columns": []}, {"columns": ["a", "b"]}, "--columns a,b, there not given"),
        ({"mode": "no"}, {"mode": "border"}, "--mode border, there no"),
        ({}, {"bbox_col": "b"}, "--bbox_col b, there not given"),
    ],
)
def test_options_that_differ_are_named_as_they_are_typed(
    there: dict[str, Any], now: dict[str, Any], words: str
) -> None:
    assert difference(there, now, "--") == words
