"""`--report`: the result of a run as JSON, and runs that say nothing else (`--quiet`)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import img2ds
from img2ds.core.failure import UsageError
from img2ds.downloader import report_file
from tests.downloader.test_job import ROOT, Background, command, flags, write_list


def test_a_quiet_run_with_a_report(tmp_path: Path) -> None:
    with Background() as address:
        arguments = flags(
            address, write_list(tmp_path / "list.txt"), tmp_path / "out", quiet=True,
            report=tmp_path / "report.json", metrics_port=0,
        )  # fmt: skip
        done = subprocess.run(command(arguments), cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = json.loads((tmp_path / "report.json").read_text())
    assert (found["exit_code"], found["count"], found["successes"]) == (0, 60, 60)
    assert found["shards"] == {"committed": 6, "committed_before": 0, "partial": 0, "failed": {}}
    assert found["output_folder"] == str(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if "report" in path.name] == ["report.json"]


def test_the_report_of_a_call_is_what_the_file_has(tmp_path: Path) -> None:
    with Background() as address:
        arguments = flags(
            address, write_list(tmp_path / "list.txt"), tmp_path / "out",
            report=tmp_path / "report.json",
        )  # fmt: skip
        report = img2ds.download(**arguments)
    assert json.loads((tmp_path / "report.json").read_text()) == report.to_dict()
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()


def test_a_quiet_run_that_fails_says_so(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("no url\n")
    arguments = flags("127.0.0.1:1", tmp_path / "list.txt", tmp_path / "out", quiet=True)
    done = subprocess.run(command(arguments), cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "")
    assert "no row succeeded (exit code 3)" in done.stderr


@pytest.mark.parametrize("path", ["nowhere/report.json", ""])
def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match="--report: cannot write"):
        report_file.check(f"{tmp_path}/{path}")
