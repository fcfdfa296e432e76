"""The output of one shard: published whole with its marker last, or not at all."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from img2ds.core.sample import FileRecord
from img2ds.engine.shard_output import ShardOutput
from img2ds.report.counters import Counts
from img2ds.storage import OutputFolder

FULL = "cannot write to the output folder: no space left on device"


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    return OutputFolder.open(str(tmp_path / "out"))


def staged(folder: OutputFolder) -> list[Path]:
    return [path for path in Path(folder.path, ".img2ds", "tmp").rglob("*") if path.is_file()]


def begun(folder: OutputFolder, emit: Any = None) -> ShardOutput:
    shard = ShardOutput(folder, 7, emit=emit)
    Path(shard.path("00007.parquet")).write_bytes(b"rows")
    Path(shard.stage("other/other_7.npy")).write_bytes(b"array")
    shard.add([FileRecord("other/other_7.npy", 5, "known already")])
    shard.counts.successes = 3
    shard.counts.drop("odd", 2)
    return shard


def test_files_are_published_in_order_and_the_marker_last(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[str] = []
    publish = OutputFolder.publish

    def noting(self: OutputFolder, name: str) -> None:
        published.append(name)
        publish(self, name)

    monkeypatch.setattr(OutputFolder, "publish", noting)
    shard = begun(folder)
    assert shard.committed_report() is None
    report = shard.commit()
    assert (report.shard_id, report.error, report.tally) == (7, None, shard.counts)
    assert published == ["00007.parquet", "other/other_7.npy", "00007_stats.json"]
    marker = json.loads(folder.read_bytes("00007_stats.json"))
    assert [record["sha256"] for record in marker["files"]][1] == "known already"
    again = ShardOutput(folder, 7).committed_report()
    assert again is not None
    assert (again.tally, again.duration) == (shard.counts, marker["duration"])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_commit_that_fails_leaves_nothing(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    publish, left = OutputFolder.publish, [number]

    def full(self: OutputFolder, name: str) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        publish(self, name)

    monkeypatch.setattr(OutputFolder, "publish", full)
    report = begun(folder).commit()
    assert report.fatal
    assert report.error == FULL
    assert [path for path in Path(folder.path).rglob("0*") if path.is_file()] == []
    assert staged(folder) == []


def test_a_late_attempt_reports_the_committed_shard(tmp_path: Path) -> None:
    folder = OutputFolder.open(str(tmp_path / "out"), contended=True)
    first, late = begun(folder), ShardOutput(folder, 7)
    assert first.commit().error is None
    Path(late.path("00007.parquet")).write_bytes(b"other rows")
    report = late.commit()
    assert (report.error, report.tally.successes) == (None, 3)
    assert folder.read_bytes("00007.parquet") == b"rows"
    assert staged(folder) == []


@pytest.mark.parametrize(
    ("error", "why", "fatal"),
    [
        (OSError("the disk failed"), "the disk failed", False),
        (OSError(errno.EIO, "Input/output error"), "[Errno 5] Input/output error", False),
        (OSError(errno.EDQUOT, "quota"), FULL, True),
        (OSError("100 requested and 20 written"), FULL, True),
        (ValueError(), "ValueError", False),
    ],
)
def test_a_full_disk_alone_ends_the_run(
    folder: OutputFolder, error: Exception, why: str, fatal: bool
) -> None:
    report = begun(folder).fail_with(error)
    assert (report.error, report.fatal) == (why, fatal)
    assert staged(folder) == []


def test_staged_folders_are_removed_as_well(folder: OutputFolder) -> None:
    shard = ShardOutput(folder, 7)
    Path(shard.stage("00007")).mkdir()
    Path(shard.stage("00007"), "1.jpg").write_bytes(b"1")
    shard.abort()
    assert staged(folder) == []


def test_progress_is_what_came_since_the_last_report(folder: OutputFolder) -> None:
    reports: list[Any] = []
    shard = begun(folder, reports.append)
    shard.report_progress()
    shard.counts.successes += 1
    shard.counts.bytes_received += 10
    shard.report_progress(bytes_read=5)
    shard.report_progress()
    first, second, third = (report.tally for report in reports)
    assert (first.successes, first.reasons) == (3, {"odd": 2})
    assert second == Counts(1, 15)
    assert third == Counts()
