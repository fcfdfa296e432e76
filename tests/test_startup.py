"""Modules that a plain run does not import: each costs its processes CPU before any work starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.good_image import good_image
from tests.server.sample_web import BackgroundWeb

ROOT = Path(__file__).parents[1]

#: Writes down what a process imports, and whether that is a worker.
RECORDER = """
import os, sys

class Recorder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        who = "worker" if "img2ds.engine.distributors.local" in sys.orig_argv else "parent"
        with open(os.environ["IMPORTS"], "a") as file:
            file.write(f"{who} {name}\\n")

sys.meta_path.insert(0, Recorder)
"""

#: What neither has a use for: no service, no robots.txt, no --config, no --metrics_port.
RARE = {
    "asyncio", "fsspec", "http.server", "img2ds.net.robots_gate", "img2ds.storage.s3_listing",
    "pandas", "sqlite3", "yaml",
}  # fmt: skip
#: What only workers have a use for.
WORKERS = {"PIL", "cv2", "img2ds.downloader.worker", "img2ds.net.fetcher", "simplejpeg", "trio"}
#: What only the parent has a use for.
PARENTS = {"img2ds.cli", "img2ds.downloader.job", "img2ds.source.table"}

INPUT_FORMAT = """
import pyarrow as pa
from img2ds.plugin import BatchSource, InputFormat

def read():
    import pandas
    frame = pandas.DataFrame({"url": ["http://a/", "http://b/"], "caption": ["a", None]})
    yield pa.table({name: frame[name] for name in frame})

frames = InputFormat(lambda path, options: BatchSource(path, options.columns, read))
"""


def img2ds(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "list.txt").write_text("http://h.example/photo/0.jpg\n")
    folder = tmp_path / "out"
    return subprocess.run(
        [sys.executable, "-m", "img2ds", f"--url_list={tmp_path}/list.txt",
         f"--output_folder={folder}", *arguments],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path), "IMPORTS": f"{tmp_path}/imports"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_plain_run_imports_what_it_uses(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(RECORDER)
    with BackgroundWeb([good_image()]) as address:
        done = img2ds(
            tmp_path, f"--connect_to=::{address}", "--allow_private_addresses",
            "--output_format=webdataset", "--processes_count=1",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {tuple(line.split()) for line in (tmp_path / "imports").read_text().splitlines()}
    parent, worker = ({name for who, name in found if who == one} for one in ("parent", "worker"))
    assert parent >= PARENTS
    assert worker >= WORKERS
    assert not parent & (RARE | WORKERS)
    assert not worker & (RARE | PARENTS)


def test_a_plug_in_may_give_arrow_what_pandas_has_read(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    (tmp_path / "framed.py").write_text(INPUT_FORMAT)
    done = img2ds(tmp_path, "--input_format=framed:frames", "--caption_col=caption", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "2 rows" in done.stderr
