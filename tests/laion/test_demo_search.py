"""`make demo-search` works end to end, with the model that tests share."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_demo_goes_from_a_sample_web_to_a_page(
    tmp_path: Path, tiny_model: tuple[str, str]
) -> None:
    command = [
        sys.executable, "-m", "tests.demo_search", "--check", "--port", "0",
        "--folder", str(tmp_path / "demo"), "--model", str(Path(tiny_model[0]).parent),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    match = re.search(r"precision@10 over 32 texts: ([0-9.]+)", done.stdout)
    assert match is not None
    assert float(match[1]) >= 0.8
