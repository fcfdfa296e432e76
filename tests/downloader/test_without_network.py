"""Runs in a network namespace without a network: they wait, and end when that takes too long."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def _can_unshare() -> bool:
    unshare = shutil.which("unshare")
    return (
        unshare is not None
        and not subprocess.run([unshare, "-n", "true"], capture_output=True, check=False).returncode
    )


@pytest.mark.skipif(not _can_unshare(), reason="needs the right to make a network namespace")
def test_an_outage_that_lasts_too_long_commits_nothing(tmp_path: Path) -> None:
    url_list = tmp_path / "list.txt"
    url_list.write_text("http://a.example/1.jpg\nhttp://b.example/2.jpg\n")
    output = tmp_path / "out"
    run = subprocess.run(
        [
            "unshare", "-n", sys.executable, "-m", "img2ds", "--url_list", str(url_list),
            "--output_folder", str(output), "--output_format", "webdataset",
            "--processes_count", "1", "--max_outage", "0.5",
        ],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 1
    assert "; waiting" in run.stderr
    assert "(--max_outage)" in run.stdout + run.stderr
    assert not list(output.glob("*.tar"))
    assert not list(output.glob("*_stats.json"))
