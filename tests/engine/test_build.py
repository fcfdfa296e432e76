"""A build: what is retried, what ends it, what its block may do. Workers run in this process."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from img2ds.core.failure import UsageError
from img2ds.engine.build import BuildSpec, open_build
from img2ds.engine.distributors.contract import Session, TaskLost, Worker, never
from img2ds.engine.manifest import SegmentSpec, read_segments
from img2ds.engine.run_report import RunReport, describe_end
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import ShardOutput
from img2ds.report.counters import Counts
from img2ds.report.shard_report import ShardReport
from img2ds.storage import OutputFolder


@dataclass(frozen=True)
class Number:
    shard_id: int


@dataclass
class Inline(Session):
    """Runs the worker in this process; tasks of `lost` die with their worker, each once."""

    spans_machines = False
    lost: list[int] = field(default_factory=list)

    def stream(
        self, worker: Worker, tasks: Iterator[Any], stopping: Callable[[], bool] = never
    ) -> Generator[Any, None, None]:
        for task in tasks:
            if task.shard_id in self.lost:
                self.lost.remove(task.shard_id)
                yield TaskLost(task.shard_id, "its worker died")
                continue
            reports: list[Any] = []
            worker(iter([task]), reports.append)
            yield from reports


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Inline:
    inline = Inline()
    monkeypatch.setattr("img2ds.engine.build.open_distributor", lambda *_, gpus: inline)
    return inline


def spec(path: Path, retries: int = 1) -> BuildSpec:
    segment = SegmentSpec(
        fingerprint={"format": "numbers", "max_rows": None, "files": []}, options={}, shard_count=4
    )
    return BuildSpec(output_folder=str(path), segment=segment, retries=retries)


def make(task: Number, shard: ShardOutput) -> None:
    Path(shard.path(f"{shard.name}.parquet")).write_bytes(b"x")
    shard.counts.successes += 10


def build(
    path: Path,
    retries: int = 1,
    made: Callable[[Number, ShardOutput], None] = make,
    after: Callable[[], None] = lambda: None,
) -> RunReport:
    with open_build(spec(path, retries), RunReport()) as open_:
        open_.run(SequentialWorker(open_.folder, made), map(Number, range(4)))
        after()
    return open_.report


def shards(path: Path) -> list[str]:
    return sorted(found.name[:5] for found in path.glob("*_stats.json"))


def test_committed_shards_are_not_rebuilt(workers: Inline, tmp_path: Path) -> None:
    report = build(tmp_path)
    assert (report.exit_code, report.shards_committed, report.tally.successes) == (0, 4, 40)
    (tmp_path / "00002_stats.json").unlink()
    again = build(tmp_path)
    assert (again.shards_before, again.shards_committed, again.tally.successes) == (3, 1, 10)
    assert shards(tmp_path) == ["00000", "00001", "00002", "00003"]
    assert not (tmp_path / ".img2ds").exists()


@pytest.mark.parametrize(("retries", "failed"), [(0, {1, 2}), (1, {1}), (2, set())])
def test_lost_shards_are_retried_as_often_as_asked(
    workers: Inline, tmp_path: Path, retries: int, failed: set[int]
) -> None:
    workers.lost = [1, 1, 2]
    report = build(tmp_path, retries)
    assert report.failed.keys() == failed
    assert report.exit_code == (1 if failed else 0)
    assert report.shards_committed == 4 - len(failed)


def saves_partial(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    """Saves even shards as partial ones, and returns odd tasks as they were."""
    for task in tasks:
        even = task.shard_id % 2 == 0
        emit(ShardReport(task.shard_id, Counts(5 * even), 0.0, later=Number(task.shard_id)))


def test_partial_shards_are_completed_last(workers: Inline, tmp_path: Path) -> None:
    workers.lost = [3]
    with open_build(spec(tmp_path), RunReport()) as open_:
        last = SequentialWorker(open_.folder, make)
        open_.run(saves_partial, map(Number, range(4)), last=last)
    report = open_.report
    assert (report.exit_code, report.partial, report.failed) == (0, 0, {})
    assert (report.shards_committed, report.tally.successes) == (4, 40)


def test_a_stopped_run_leaves_partial_shards(
    workers: Inline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def tasks() -> Iterator[Number]:
        for number in range(3):
            yield Number(number)
        os.kill(os.getpid(), signal.SIGINT)

    with open_build(spec(tmp_path), RunReport()) as open_:
        last = SequentialWorker(open_.folder, make)
        open_.run(saves_partial, tasks(), expect=lambda: (None, None), last=last)
    report = open_.report
    assert (report.exit_code, report.partial, report.failed) == (130, 2, {})
    assert report.shards_committed == 0
    assert "2 partial shards saved" in describe_end(report)[0]
    assert "shard 00002 saved as a partial shard: 5 rows" in capsys.readouterr().err


def test_a_shard_that_raises_fails_alone(workers: Inline, tmp_path: Path) -> None:
    def broken(task: Number, shard: ShardOutput) -> None:
        if task.shard_id == 2:
            raise UsageError("the input is damaged")
        make(task, shard)

    report = build(tmp_path, made=broken)
    assert (report.failed, report.stopped) == ({2: "the input is damaged"}, None)
    assert shards(tmp_path) == ["00000", "00001", "00003"]


def test_a_full_disk_ends_it(workers: Inline, tmp_path: Path) -> None:
    def full(task: Number, shard: ShardOutput) -> None:
        if task.shard_id == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        make(task, shard)

    report = build(tmp_path, made=full)
    assert report.stopped == "cannot write to the output folder: no space left on device"
    assert (report.exit_code, set(report.failed)) == (1, {1})
    assert shards(tmp_path) == ["00000"], "no more shards are started, and none is retried"


def test_one_signal_starts_no_more_shards(workers: Inline, tmp_path: Path) -> None:
    def interrupted(task: Number, shard: ShardOutput) -> None:
        make(task, shard)
        if task.shard_id == 1:
            os.kill(os.getpid(), signal.SIGINT)

    report = build(tmp_path, made=interrupted)
    assert (report.exit_code, report.stopped) == (130, "stopped by SIGINT")
    assert shards(tmp_path) == ["00000", "00001"]


def test_a_disk_that_is_full_after_the_shards(workers: Inline, tmp_path: Path) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    report = build(tmp_path, after=full)
    assert (report.exit_code, report.shards_committed) == (1, 4)
    assert report.stopped == "cannot write to the output folder: no space left on device"


def test_trouble_with_another_file_is_not_the_output_folders(
    workers: Inline, tmp_path: Path
) -> None:
    def missing() -> None:
        Path("/elsewhere/x").read_bytes()

    report = build(tmp_path, after=missing)
    assert (report.exit_code, report.shards_committed) == (1, 4)
    assert report.stopped == "cannot use /elsewhere/x: no such file or directory"

    def own() -> None:
        (tmp_path / "report" / "x").touch()

    report = build(tmp_path, after=own)
    assert report.stopped == "cannot write to the output folder: no such file or directory"


def test_two_signals_end_what_comes_after_the_shards(workers: Inline, tmp_path: Path) -> None:
    reached = []
    before = signal.getsignal(signal.SIGTERM)

    def slow() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append("after one")
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append("after two")

    report = build(tmp_path, after=slow)
    assert reached == ["after one"]
    assert (report.exit_code, report.stopped) == (130, "stopped by SIGTERM")
    assert signal.getsignal(signal.SIGTERM) is before
    build(tmp_path)  # the folder is free again


def test_wrong_use_comes_out_and_frees_the_folder(workers: Inline, tmp_path: Path) -> None:
    def wrong() -> None:
        raise UsageError("no row has a vector")

    with pytest.raises(UsageError, match="no row has a vector"):
        build(tmp_path, after=wrong)
    assert build(tmp_path).shards_before == 4


def test_a_run_over_what_is_there_leaves_the_manifest_alone(
    workers: Inline, tmp_path: Path
) -> None:
    build(tmp_path)
    before = read_segments(OutputFolder.open(str(tmp_path)))
    edits = BuildSpec(output_folder=str(tmp_path))
    with open_build(edits, RunReport()) as editing:
        assert (tmp_path / ".img2ds-lock").read_text(), "it is locked"
        with pytest.raises(UsageError, match="is in use by process"):
            build(tmp_path)
        editing.run(SequentialWorker(editing.folder, make), map(Number, range(2)))
    assert editing.report.shards_committed == 2
    assert read_segments(OutputFolder.open(str(tmp_path))) == before


def test_inspecting_locks_and_writes_nothing(workers: Inline, tmp_path: Path) -> None:
    looking = BuildSpec(output_folder=str(tmp_path / "out"), lock=False)
    with open_build(looking, RunReport()):
        pass
    assert not (tmp_path / "out").exists()
