"""Logging to Weights & Biases, with the real package offline: read back from its files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from img2ds.config.options import IMAGE_FORMATS, Options
from img2ds.core.failure import UsageError
from img2ds.report.shard_report import ShardReport
from img2ds.report.tally import Tally
from img2ds.report.wandb import Board, flag_values, load_wandb
from tests.downloader.test_job import ROOT, Background, command, flags, ungated, write_list

__all__ = ["ungated"]

pytest.importorskip("wandb", reason="wandb is not installed")

#: img2dataset 1.47's names (its logger.py).
SPEEDS = ("img_per_sec", "success", "failed_to_download", "failed_to_resize", "count")

#: A block of wandb's log, and the file's own head, in bytes: LevelDB's log format.
_BLOCK, _FILE_HEAD = 32_768, 7


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    # What wandb looks up once a process, by a test before.
    load_wandb().teardown()


def records(folder: Path) -> list[Any]:
    """Everything that the one run in `folder` logged, in order."""
    messages: Any = import_module("wandb.proto.wandb_internal_pb2")

    load_wandb().teardown()  # its process writes the last bytes when it ends
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    data = path.read_bytes()
    found, gathered, at = [], b"", _FILE_HEAD
    while at + 7 <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        gathered += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = messages.Record()
            record.ParseFromString(gathered)
            found.append(record)
            gathered = b""
    return found


def history(folder: Path) -> list[dict[str, Any]]:
    """The logged rows; what wandb adds itself is left out, and of a table is its path there."""
    rows = []
    for record in records(folder):
        row = {}
        for item in record.history.item:
            name = item.key or "/".join(item.nested_key)
            if not name.startswith("_"):
                row[name] = json.loads(item.value_json)
        if row:
            rows.append(row)
    return rows


def table(folder: Path, row: dict[str, Any], name: str) -> tuple[list[str], list[list[Any]]]:
    (path,) = folder.glob(f"wandb/offline-run-*/files/{row[f'{name}/path']}")
    document = json.loads(path.read_text())
    return document["columns"], document["data"]


def options(**more: Any) -> Options:
    return Options.from_flags({"url_list": "list.txt", "output_format": "webdataset", **more})


class Clock:
    """Stands until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_run_as_img2dataset_logs_it(tmp_path: Path) -> None:
    first = Tally(6, 0, Counter(http_404=2), failed_to_download=2)
    first.messages["HTTP status 404"] = 2
    second = Tally(1, 0, Counter(stalled=2, image_bomb=1), failed_to_download=2, failed_to_resize=1)
    second.messages.update({"server stopped responding": 2, "image bomb": 1})
    total, clock = Tally(), Clock()
    with Board(options(), pytest.fail, clock) as board:
        for clock.now, tally in ((12.0, first), (14.0, second)):
            total.merge(tally)
            board.shard(ShardReport(0, tally, 2.0), total)
    rows = history(tmp_path)
    assert len(rows) == 6
    assert rows[0] == dict(
        zip([f"worker/{name}" for name in SPEEDS], [4.0, 0.75, 0.25, 0.0, 8], strict=True)
    )
    assert rows[1] == {
        "total/img_per_sec": 4.0,
        "total/success": 0.75, "total/failed_to_download": 0.25, "total/failed_to_resize": 0.0,
        "total/count": 8, "reason/http_404": 0.25,
    }  # fmt: skip
    assert rows[2]["worker/count"] == 4
    assert rows[3]["total/count"] == 12
    assert rows[3]["total/img_per_sec"] == 3.0
    assert rows[3]["total/failed_to_resize"] == pytest.approx(1 / 12)
    assert {name for name in rows[3] if name.startswith("reason/")} == {
        "reason/http_404", "reason/stalled", "reason/image_bomb",
    }  # fmt: skip
    columns, data = table(tmp_path, rows[4], "status")
    assert columns == ["status", "frequency", "count"]
    assert data[0] == ["success", pytest.approx(7 / 12), 7]
    assert sorted(data[1:]) == [
        ["HTTP status 404", pytest.approx(2 / 12), 2],
        ["image bomb", pytest.approx(1 / 12), 1],
        ["server stopped responding", pytest.approx(2 / 12), 2],
    ]
    columns, data = table(tmp_path, rows[5], "reasons")
    assert columns == ["reason", "frequency", "count"]
    assert sorted(row[0] for row in data) == ["http_404", "image_bomb", "stalled"]


def test_tables_come_once_a_minute(tmp_path: Path) -> None:
    """Also at the end, if there is something new."""
    tally, clock = Tally(1), Clock()
    with Board(options(), pytest.fail, clock) as board:
        for clock.now in (30.0, 61.0, 62.0, 100.0, 122.0):
            board.shard(ShardReport(0, tally, 1.0), tally)
    kinds = "".join(next(iter(row))[0] for row in history(tmp_path))
    assert kinds == "wt" + "wtsr" + "wt" + "wt" + "wtsr"


def test_flags_are_logged_without_passwords(tmp_path: Path) -> None:
    wanted = options(
        url_list="s3://id:s3cret@bucket/list.txt", proxy="http://me:s3cret@p:1",
        headers={"Cookie": "s3cret"}, wandb_project="mine",
    )  # fmt: skip
    with Board(wanted, pytest.fail):
        pass
    (run,) = (record.run for record in records(tmp_path) if record.run.run_id)
    assert run.project == "mine"
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["url_list"] == "s3://bucket/list.txt"
    assert config["thread_count"] == 256
    assert config["max_image_area"] == "inf"
    assert config["image_formats"] == list(IMAGE_FORMATS)
    assert not {"proxy", "headers"} & set(config)
    assert set(flag_values(wanted)) <= set(config)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"s3cret" not in path.read_bytes(), path


def test_a_missing_login_is_reported_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(UsageError, match=r"^--enable_wandb: .*set WANDB_MODE=offline to log"):
        Board(options(), pytest.fail)


def test_a_missing_network_is_reported_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "0.2")
    with pytest.raises(UsageError, match=r"^--enable_wandb: [^\n]*$"):
        Board(options(), pytest.fail)


def test_a_later_failure_is_reported_once() -> None:
    """In a separate program: wandb keeps one process a program."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.report.test_wandb"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    (line,) = run.stdout.splitlines()
    assert line.startswith("Weights & Biases failed, continuing without it: ")
    assert run.stderr == ""
    assert run.returncode == 0


def _lose_the_service() -> None:
    """Log on when wandb's own process was killed."""
    tally = Tally(1)
    with Board(options(), print) as board:
        board.shard(ShardReport(0, tally, 1.0), tally)
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        lines = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
        (service,) = [pid for pid, line in lines.items() if b"wandb-core" in line]
        os.kill(service, signal.SIGKILL)
        os.waitid(os.P_PID, service, os.WEXITED | os.WNOWAIT)
        for _ in range(3):
            board.shard(ShardReport(0, tally, 1.0), tally)


def test_a_whole_run(tmp_path: Path, ungated: tuple[Background, str]) -> None:
    _, address = ungated
    arguments = flags(address, write_list(tmp_path / "list.txt", 0, 25), tmp_path / "out")
    run = subprocess.run(
        command({**arguments, "enable_wandb": True}), cwd=ROOT, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    rows = history(tmp_path)
    assert [row["worker/count"] for row in rows if "worker/count" in row].count(10) == 2
    assert [row for row in rows if "total/count" in row][-1]["total/count"] == 25
    assert "status/path" in rows[-2]


@pytest.mark.parametrize("arguments", [{}, {"dry_run": True}])
def test_it_is_not_installed(
    tmp_path: Path, arguments: dict[str, Any], ungated: tuple[Background, str]
) -> None:
    _, address = ungated
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "wandb.py").write_text("raise ImportError('it is not there')")
    given = flags(address, write_list(tmp_path / "list.txt", 0, 5), tmp_path / "out", **arguments)
    path = os.pathsep.join((str(tmp_path / "hidden"), str(ROOT)))
    run = subprocess.run(
        command({**given, "enable_wandb": True}), cwd=ROOT, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr == (
        "img2ds: error: --enable_wandb needs the package wandb: pip install 'img2ds[wandb]'\n"
    )
    assert not (tmp_path / "out").exists()


if __name__ == "__main__":
    _lose_the_service()
