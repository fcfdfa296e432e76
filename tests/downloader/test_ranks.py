"""Runs that share a folder, as real processes: together they make what one makes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import img2ds
from img2ds.core.failure import UsageError
from img2ds.manage.options import StatusOptions, VerifyOptions
from img2ds.manage.status import Status
from img2ds.manage.status import run as run_status
from img2ds.manage.verify import run as run_verify
from tests.downloader.test_job import (
    IMAGES,
    ROOT,
    Background,
    command,
    flags,
    markers,
    read_until,
    samples,
    start,
    write_list,
)
from tests.state import data_names

WORLD = 3


@pytest.fixture
def web() -> Iterator[tuple[Background, str]]:
    held = Background(gate=30)
    with held as address:
        yield held, address


def of_rank(arguments: dict[str, Any], rank: int, **more: Any) -> dict[str, Any]:
    return {**arguments, "processes_count": 1, "rank": rank, "world_size": WORLD, **more}


def status_of(folder: Path) -> Status:
    return run_status(StatusOptions(output_folder=str(folder)))


def shards_of(folder: Path) -> list[int]:
    return sorted(int(name.partition("_")[0]) for name in markers(folder))


def finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate()
    assert process.returncode == 0, output + errors
    return output


@pytest.mark.slow
def test_three_ranks_that_are_killed_and_stopped_make_one_dataset(
    tmp_path: Path, web: tuple[Background, str]
) -> None:
    held, address = web
    out = tmp_path / "out"
    # A row at a time: each rank makes its first shard, and then waits in its second one.
    arguments = flags(address, write_list(tmp_path / "list.txt"), out, thread_count=1)
    running = [start(of_rank(arguments, rank, grace_seconds=0)) for rank in range(WORLD)]
    for rank, process in enumerate(running):
        read_until(process.stderr, f"shard 0000{rank}:")
    assert shards_of(out) == [0, 1, 2]

    found = status_of(out)
    assert found.holder is not None
    assert [f"rank {rank} of 3" in found.holder for rank in range(WORLD)] == [True] * WORLD
    for wrong, words in (
        (arguments, "is in use by rank 0 of 3, process"),
        (of_rank(arguments, 0), "for rank 0 of 3 is in use by process"),
        (of_rank(arguments, 1, world_size=2), "is in use by rank 0 of 3, process"),
    ):
        refused = subprocess.run(command(wrong), cwd=ROOT, capture_output=True, text=True)
        assert refused.returncode == 2
        assert words in refused.stderr

    assert held.gated.reached.wait(60)
    os.killpg(running[0].pid, signal.SIGKILL)
    os.killpg(running[1].pid, signal.SIGTERM)
    for process in running[:2]:
        process.communicate()
    assert running[1].returncode == 130
    assert status_of(out).holder is not None, "rank 2 still runs"

    # Rank 0 comes back while rank 2 is at work: it removes nothing of it.
    again = start(of_rank(arguments, 0))
    read_until(again.stderr, "1 shard committed before")
    held.open()
    for process in (again, start(of_rank(arguments, 1)), running[2]):
        assert "written" in finish(process)
    assert shards_of(out) == list(range(6))
    assert not (out / ".img2ds").exists()

    found = status_of(out)
    assert (found.complete, found.holder, found.rows) == (True, None, IMAGES)
    assert run_verify(VerifyOptions(output_folder=str(out))).exit_code == 0

    img2ds.download(**{**arguments, "output_folder": str(tmp_path / "calm"), "thread_count": 16})
    assert samples(out) == samples(tmp_path / "calm")
    assert data_names(out) == data_names(tmp_path / "calm")
    manifests = [json.loads((place / ".img2ds-manifest").read_text()) for place in
                 (out, tmp_path / "calm")]  # fmt: skip
    assert manifests[0] == manifests[1]


def test_another_number_of_ranks_resumes(tmp_path: Path, web: tuple[Background, str]) -> None:
    held, address = web
    held.open()
    out = tmp_path / "out"
    arguments = flags(address, write_list(tmp_path / "list.txt"), out)
    report = img2ds.download(**of_rank(arguments, 1))
    assert (report.exit_code, report.shards_committed, shards_of(out)) == (0, 2, [1, 4])
    assert not status_of(out).complete
    report = img2ds.download(**of_rank(arguments, 1, world_size=2))
    assert (report.shards_committed, report.shards_before) == (2, 1), "1, 3 and 5, of which 1 is"
    report = img2ds.download(**arguments)
    assert (report.shards_committed, report.shards_before) == (2, 4)
    assert status_of(out).complete


def test_ranks_without_shards_are_done(tmp_path: Path, web: tuple[Background, str]) -> None:
    held, address = web
    held.open()
    arguments = flags(address, write_list(tmp_path / "list.txt"), tmp_path / "out")
    report = img2ds.download(**of_rank(arguments, 8, world_size=9))
    assert (report.exit_code, report.shards_committed) == (0, 0)


def test_leftovers_of_other_ranks_are_left_alone(
    tmp_path: Path, web: tuple[Background, str]
) -> None:
    held, address = web
    held.open()
    out = tmp_path / "out"
    arguments = flags(address, write_list(tmp_path / "list.txt"), out)
    img2ds.download(**of_rank(arguments, 0))
    (out / "00001.tar").write_bytes(b"published, and its marker follows")
    (out / "00003_stats.json").unlink()
    img2ds.download(**of_rank(arguments, 0))
    assert (out / "00001.tar").read_bytes() == b"published, and its marker follows"
    assert shards_of(out) == [0, 3]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"distributor": "ray"}, "--rank and --distributor ray exclude each other"),
        ({"incremental_mode": "overwrite"}, "--rank and --incremental_mode overwrite exclude"),
        ({"sizes_json": True}, "when all ranks are done, run img2ds status"),
    ],
)
def test_what_ranks_cannot_do(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    arguments = flags("127.0.0.1:1", write_list(tmp_path / "list.txt"), tmp_path / "out")
    with pytest.raises(UsageError, match=words):
        img2ds.download(**of_rank(arguments, 0, **more))
    assert not (tmp_path / "out").exists()


def test_the_array_script_of_the_documents(tmp_path: Path) -> None:
    """Run with a stand-in for srun, and with --dry_run: each task has its share."""
    page = (ROOT / "docs" / "slurm.md").read_text()
    script = page.split("```bash")[1].split("```")[0]
    stand_ins = """
        srun() { while [[ $1 == --* ]]; do shift; done; "$@"; }
        img2ds() { "$PYTHON" -m img2ds "$@" --number_sample_per_shard 10 --dry_run; }
        export SLURM_STEP_NUM_TASKS=1
    """
    urls = [f"http://h.example/{number}.jpg" for number in range(IMAGES)]
    pq.write_table(pa.table({"url": urls}), tmp_path / "urls.parquet")
    for task in (0, 3, 15):
        environ = {
            **os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT),
            "SLURM_CPUS_PER_TASK": "1", "SLURM_PROCID": "0", "SLURM_ARRAY_TASK_ID": str(task),
            "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "15",
            "SLURM_ARRAY_TASK_COUNT": "16",
        }  # fmt: skip
        done = subprocess.run(
            ["bash", "-ec", stand_ins + script], cwd=tmp_path, env=environ, capture_output=True,
            text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"rank {task} of 16 makes {int(task < 6)} of them" in done.stderr
