"""A stage of numbers: how every stage handles shards, markers, resuming and wrong use."""

from __future__ import annotations

import json
import os
import shlex
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from img2ds.config.command_line import read_arguments
from img2ds.config.flags import Flags, flag
from img2ds.core.failure import UsageError
from img2ds.engine.marker import counts_document
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import ShardOutput
from img2ds.storage import InputFile
from laion import cli
from laion.commands import COMMANDS, Command
from laion.stage import StageOptions, StageReport, StageSpec, file_fingerprint, open_stage


@dataclass(frozen=True, kw_only=True)
class CountOptions(StageOptions):
    upto: int = flag(4, "int", "shards to make", identity=False)
    step: int = flag(2, "int", "every n-th row is kept")
    mishap: str | None = flag(None, "str?", "what goes wrong in shard 2")


@dataclass(frozen=True)
class CountTask:
    shard_id: int
    options: CountOptions


def make(task: CountTask, shard: ShardOutput) -> None:
    """Ten rows a shard, of which every `step`-th is kept; a second file in another folder."""
    rows = range(10 * task.shard_id, 10 * task.shard_id + 10)
    kept = [row for row in rows if row % task.options.step == 0]
    lost = Path(f"{task.options.output_folder}.mishap")
    if task.shard_id == 2 and task.options.mishap and not lost.exists():
        lost.touch()
        if task.options.mishap == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if task.options.mishap == "full":
            Path("/dev/full").write_text("x")
        if task.options.mishap == "full for numpy":
            np.zeros(100_000).tofile("/dev/full")
        raise OSError("the disk failed")
    Path(shard.path(f"{shard.name}.parquet")).write_text(json.dumps(kept))
    Path(shard.path(f"other/other_{task.shard_id}.npy")).write_text("x")
    shard.counts.successes += len(kept)
    shard.counts.drop("odd", 10 - len(kept))
    shard.counts.metrics["pages"] += 3


def run(options: CountOptions, total: str | None = None) -> StageReport:
    """`total` is where the counts go in the end."""
    spec = StageSpec(
        stage="count",
        options=options,
        fingerprint=file_fingerprint("numbers", [InputFile(f"upto {options.upto}", 1)]),
        shard_count=options.upto,
        subfolders=("other",),
    )
    with open_stage(spec) as build:
        tasks = [CountTask(build.first_shard + number, options) for number in range(options.upto)]
        if build.run(SequentialWorker(build.folder, make), tasks):
            place = Path(total or f"{options.output_folder}.total")
            place.write_text(json.dumps(counts_document(build.report.total)))
    return build.report


def options(folder: Path, **flags: object) -> CountOptions:
    return CountOptions(output_folder=str(folder), processes_count=2, **flags)  # type: ignore[arg-type]


def numbers(folder: Path) -> list[int]:
    parts = sorted(folder.glob("0*.parquet"))
    return [number for part in parts for number in json.loads(part.read_text())]


def test_parts_are_committed_with_exact_counts(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    report = run(options(folder))
    assert report.exit_code == 0
    assert numbers(folder) == list(range(0, 40, 2))
    assert (report.total.count, report.total.successes) == (40, 20)
    marker = json.loads((folder / "00001_stats.json").read_text())
    assert (marker["count"], marker["successes"], marker["dropped"]) == (10, 5, 5)
    assert marker["reasons"] == {"odd": 5}
    assert marker["pages"] == 3
    assert [file["name"] for file in marker["files"]] == ["00001.parquet", "other/other_1.npy"]
    total = json.loads(Path(f"{folder}.total").read_text())
    assert (total["successes"], total["reasons"], total["pages"]) == (20, {"odd": 20}, 12)
    assert "kept rows" in report.text
    assert f"4 shards written in {folder}" in report.text
    assert not (folder / ".img2ds").exists()


def test_rerunning_does_nothing_and_a_lost_marker_is_rebuilt(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    run(options(folder))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    again = run(options(folder))
    assert (again.shards_committed, again.shards_before) == (0, 4)
    assert again.total.successes == 20
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")} == before
    (folder / "00002_stats.json").unlink()
    mended = run(options(folder))
    assert (mended.shards_committed, mended.shards_before) == (1, 3)
    assert numbers(folder) == list(range(0, 40, 2))


@pytest.mark.parametrize("mishap", ["killed", "raised"])
def test_a_lost_shard_is_rebuilt(tmp_path: Path, mishap: str) -> None:
    folder = tmp_path / "out"
    report = run(options(folder, mishap=mishap))
    assert report.exit_code == 0
    assert numbers(folder) == list(range(0, 40, 2))


def test_a_shard_that_cannot_be_built_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    report = run(options(folder, mishap="raised", max_shard_retry=0))
    assert report.exit_code == 1
    assert report.failed == {2: "the disk failed"}
    assert numbers(folder) == [*range(0, 20, 2), *range(30, 40, 2)], "the others are committed"
    assert not Path(f"{folder}.total").exists()
    assert not (folder / "00002.parquet").exists()
    assert "rerun the same command to build the missing shards" in report.text


@pytest.mark.parametrize("mishap", ["full", "full for numpy"])
def test_a_full_disk_ends_the_run_and_the_same_command_resumes(tmp_path: Path, mishap: str) -> None:
    flags = options(tmp_path / "out", mishap=mishap)
    report = run(flags)
    assert report.exit_code == 1
    assert str(report.stopped) == "cannot write to the output folder: no space left on device"
    assert run(flags).exit_code == 0
    assert numbers(tmp_path / "out") == list(range(0, 40, 2))


def test_what_is_written_last_finds_a_full_disk(tmp_path: Path) -> None:
    report = run(options(tmp_path / "out"), "/dev/full")
    assert report.exit_code == 1
    assert "no space left on device: completed shards are kept" in report.text
    assert run(options(tmp_path / "out")).exit_code == 0
    assert (tmp_path / "out.total").exists()


def test_other_options_or_inputs_do_not_mix(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    run(options(folder))
    with pytest.raises(UsageError, match=r"--step 5, there 2"):
        run(options(folder, step=5))
    with pytest.raises(UsageError, match="another input"):
        run(options(folder, upto=2))
    run(options(folder, upto=2, incremental_mode="extend"))
    assert numbers(folder) == list(range(0, 60, 2))


def test_overwriting_leaves_nothing_of_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    run(options(folder))
    run(options(folder, upto=1, step=5, incremental_mode="overwrite"))
    assert numbers(folder) == [0, 5]
    assert [path.name for path in (folder / "other").iterdir()] == ["other_0.npy"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cuont"], "did you mean count?"),
        (["count"], "--output_folder is required"),
        (["count", "--output_folder", "x", "--stpe", "3"], "did you mean --step?"),
        (["count", "--output_folder", "x", "--step", "three"], "--step takes a whole number"),
        (["count", "x"], "unexpected argument 'x'; laion count --help lists"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    command = Command("count numbers", f"{__name__}:CountOptions", f"{__name__}:run")
    monkeypatch.setitem(COMMANDS, "count", command)
    assert cli.run(arguments) == 2
    output = capsys.readouterr()
    assert words in output.err
    assert len(output.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_commands_and_their_flags_have_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command("count numbers", f"{__name__}:CountOptions", f"{__name__}:run")
    monkeypatch.setitem(COMMANDS, "count", command)
    assert cli.run(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["laion", "count", "count", "numbers"] in [line.split() for line in lines]
    assert cli.run(["count", "--help"]) == 0
    page = capsys.readouterr().out
    assert "--output_folder (required)" in page
    assert "--step (2)" in page


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_an_example_with_flags_that_exist(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.run([name, "--help"]) == 0
    page = capsys.readouterr().out.splitlines()
    example = next(line for line in page if line.startswith(f"  laion {name} --"))
    options = COMMANDS[name].load_options()
    flags = Flags.of("", options)
    given = read_arguments(flags, shlex.split(example)[2:])
    flags.read(given)  # no required one is missing
    assert max(len(line) for line in page if line != example) <= 80
    firsts = [line for line in page if line.startswith("  --")]
    assert [" (required)" in line for line in firsts] == sorted(
        (" (required)" in line for line in firsts), reverse=True
    )
