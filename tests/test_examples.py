"""Every script of examples/ runs, over a sample web on loopback."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.server.good_image import good_image
from tests.server.sample_web import BackgroundWeb, links

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
IMAGES = 24
ROWS = list(links(IMAGES))


def run(number: int, *arguments: str | Path) -> str:
    """Run the example of this number, and return what it prints."""
    script = next(path for path in SCRIPTS if path.name.startswith(f"{number:02}_"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def successes(folder: Path) -> int:
    """Rows that the commit markers of a folder count as successes."""
    markers = [json.loads(path.read_text()) for path in folder.glob("*_stats.json")]
    return sum(marker["successes"] for marker in markers)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a web with `IMAGES` images and some broken links."""
    with BackgroundWeb([good_image()] * IMAGES) as address:
        yield address


@pytest.fixture(scope="module")
def downloaded(address: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that example 1 wrote, and its output."""
    folder = tmp_path_factory.mktemp("examples")
    with (folder / "urls.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("url", "caption"))
        writer.writerows((row.url, row.caption) for row in ROWS)
    output = run(1, folder / "urls.csv", folder / "images", "--server", address)
    return folder / "images", output


def test_examples_are_short() -> None:
    assert len(SCRIPTS) == 8
    for script in SCRIPTS:
        assert len(script.read_text().splitlines()) <= 40, script.name


def test_download_list(downloaded: tuple[Path, str]) -> None:
    assert f"{IMAGES} of {len(ROWS)} images" in downloaded[1]


def test_train_from_webdataset(downloaded: tuple[Path, str]) -> None:
    pytest.importorskip("torch")
    output = run(2, downloaded[0], "--steps", "3")
    assert "step 0: loss 0." in output


@pytest.mark.parametrize("number", [0, 1], ids=["webdataset", "datasets"])
def test_training_snippets_of_the_readme(
    downloaded: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    pytest.importorskip(("torch", "datasets")[number])
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    snippet = [block for block in blocks if "images/" in block][number]
    monkeypatch.chdir(downloaded[0].parent)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    names: dict[str, Any] = {}
    exec(snippet, names)
    if number == 0:
        assert names["images"].shape == (16, 3, 256, 256)
        assert len(names["captions"]) == 16
    else:
        assert names["pair"]["jpg"].size == (256, 256)
        assert names["pair"]["txt"]


def test_report_failures(downloaded: tuple[Path, str]) -> None:
    output = run(3, downloaded[0])
    assert f"{len(ROWS) - IMAGES} of {len(ROWS)} rows failed" in output
    for reason in {row.reason for row in ROWS} - {None}:
        assert str(reason) in output


def test_retry_and_verify(downloaded: tuple[Path, str], address: str) -> None:
    output = run(4, downloaded[0], "--server", address)
    for command in ("retry", "verify", "status"):
        assert f"$ img2ds {command}" in output
    assert successes(downloaded[0]) == IMAGES


def test_stream_to_torch(downloaded: tuple[Path, str], address: str) -> None:
    pytest.importorskip("torch")
    output = run(6, downloaded[0].parent / "urls.csv", "--server", address)
    assert "a batch of shape [16, 3, 64, 64]" in output
    assert f"a batch of shape [{IMAGES - 16}, 3, 64, 64]" in output


@pytest.mark.parametrize(("number", "package"), [(7, "ray.data"), (8, "pyspark.sql")])
@pytest.mark.slow
def test_stream_in_a_cluster(address: str, tmp_path: Path, number: int, package: str) -> None:
    pytest.importorskip(package)
    names = {"url": [row.url for row in ROWS], "caption": [row.caption for row in ROWS]}
    pq.write_table(pa.table(names), tmp_path / "urls.parquet")
    output = run(number, tmp_path / "urls.parquet", "--server", address)
    assert f"{IMAGES} of {len(ROWS)} images" in output


@pytest.mark.slow
def test_laion_stages(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    from laion.clip.tiny import write
    from tests.laion.shape_web import ShapeWeb, ShapeWorld

    # A model that has learned nothing, so that the tags are arbitrary: only the counts must agree.
    model, weights = write(str(tmp_path / "tiny"), seed=1, steps=1, count=32)
    world = ShapeWorld()
    world.write_wats(tmp_path / "wats", 1)
    with ShapeWeb(world) as address:
        run(
            5, tmp_path / "wats", tmp_path / "out", "--model", model, "--pretrained", weights,
            "--threshold", "-1", "--server", address,
        )  # fmt: skip
    out = tmp_path / "out"
    tagged = list((out / "tagged" / "metadata").glob("*.parquet"))
    released = list((out / "release").glob("part-*.parquet"))
    assert successes(out / "scored") > 0
    assert sum(pq.read_metadata(path).num_rows for path in tagged) == successes(out / "tagged")
    assert sum(pq.read_metadata(path).num_rows for path in released) == successes(out / "release")
    assert successes(out / "release") == successes(out / "tagged")
    assert (out / "release" / "README.md").exists()
