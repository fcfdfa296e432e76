"""`laion run` over a small web: the same release as by single commands, the report, resuming."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from img2ds.core.state import is_state
from laion import cli
from tests.laion.all_stages_folder import Chain
from tests.laion.shape_web import ShapeWeb

pytestmark = pytest.mark.slow

PROGRAM = "import sys; from laion.cli import main; main()"


def write_config(chain: Chain, folder: Path, address: str, **changes: Any) -> str:
    model, weights = chain.model[1], chain.model[3]
    network = {"connect_to": [f"::{address}"], "allow_private_addresses": True, "timeout": 60}
    document = {
        "output_folder": str(folder / "all"),
        "model": model,
        "pretrained": weights,
        "processes_count": 1,
        "extract": {"wat": chain.place("wats")},
        "download": {**network, "number_sample_per_shard": 60},
        "tag": {"prompts": chain.place("prompts.json")},
        **changes,
    }
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(document))
    return str(file)


def released(folder: Path) -> set[tuple[int, str, str]]:
    tables = [pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))]
    columns = ("SAMPLE_ID", "URL", "TEXT")
    return {row for t in tables for row in zip(*(t[c].to_pylist() for c in columns), strict=True)}


def captions_tagged_unlikely(folder: Path) -> set[str]:
    tables = [pq.read_table(path) for path in sorted(folder.glob("metadata/*.parquet"))]
    return {
        " ".join(row["caption"].split())
        for table in tables
        for row in table.to_pylist()
        if row["nsfw"] == "UNLIKELY"
    }


def files(folder: Path) -> dict[str, int]:
    """The files in it, without the report and internal ones."""
    found = [path for path in folder.rglob("*") if path.is_file() and not is_state(path.name)]
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in found
        if path.parent != folder and path.name not in ("README.md", "table1.json")
        and path.suffix != ".png"
    }  # fmt: skip


def test_all_stages_and_the_report(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = tmp_path / "all"
    with ShapeWeb(chain.world) as address:
        config = write_config(chain, tmp_path, address)
        assert cli.run(["run", "--config", config, "--dry_run"]) == 0
        assert "laion score -> " in capsys.readouterr().out
        assert not everything.exists()
        assert cli.run(["run", "--config", config]) == 0
        assert "all 7 stages are done" in capsys.readouterr().out
        want = released(Path(chain.place("release")))
        assert released(everything / "release") == want
        record = json.loads((everything / "run.json").read_text())["stages"]
        assert list(record) == [
            "extract", "dedup", "download", "score", "tag", "release", "index",
        ]  # fmt: skip
        page = (everything / "report.html").read_text()
        for stage in record:
            assert f"<td>{stage}</td>" in page
        for words in ("http_404", "illegal_animal", "low_similarity", "recall@10", "done", "--wat"):
            assert words in page
        assert f'<td data-of="kept">{len(want)}</td>' in page
        released_images, dropped_images = page.split("<h3>Released pairs</h3>")[1].split(
            "<h3>Dropped: low_similarity</h3>"
        )
        assert released_images.count("data:image/jpeg;base64,") == 12
        assert dropped_images.count("data:image/jpeg;base64,") >= 3
        # What was dropped as illegal, or is not tagged safe, is on no report.
        shown = set(re.findall(r'<img src="data:[^"]*" alt="([^"]*)"', page))
        assert shown <= captions_tagged_unlikely(everything / "tag")
        assert '<img src="release/figures/similarity.png"' in page

        # A second run rebuilds nothing, and checking takes no time in the record.
        before = files(everything)
        assert cli.run(["run", "--config", config]) == 0
        assert json.loads((everything / "run.json").read_text())["stages"] == record
        after = files(everything)
        index = {name for name in after if name.startswith("index/")}
        assert {k: v for k, v in after.items() if k not in index} == {
            k: v for k, v in before.items() if k not in index
        }

        # A folder built with other options is not resumed, and the stage is named.
        config = write_config(chain, tmp_path, address, release={"threshold": 0.5})
        capsys.readouterr()
        assert cli.run(["run", "--config", config]) == 2
        assert "laion: error: release: " in capsys.readouterr().err
    shutil.rmtree(everything)


def test_it_is_stopped_and_resumes(chain: Chain, tmp_path: Path) -> None:
    """Stop by Ctrl-C while it downloads, then rerun; crawl in place of three stages."""
    everything = tmp_path / "all"
    network = {"allow_private_addresses": True, "timeout": 60, "number_sample_per_shard": 20}
    with ShapeWeb(chain.world) as address:
        crawl = {**network, "connect_to": [f"::{address}"], "prompts": chain.place("prompts.json")}
        config = write_config(chain, tmp_path, address, crawl=crawl, index=False)
        document = yaml.safe_load(Path(config).read_text())
        del document["download"], document["tag"]
        Path(config).write_text(yaml.safe_dump(document))
        command = [sys.executable, "-c", PROGRAM, "run", "--config", config]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        markers = everything / "crawl"
        while not (markers.exists() and list(markers.glob("*_stats.json"))):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)  # wait for another process
        os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=120)
        if process.returncode != 130:  # it was faster
            assert process.returncode == 0, output
        else:
            assert b"rerun the same command to resume" in output
            assert "interrupted" in (everything / "report.html").read_text()
        assert cli.run(["run", "--config", config]) == 0
    assert released(everything / "release") == released(Path(chain.place("release")))
    assert "interrupted" not in (everything / "report.html").read_text()


def test_an_incomplete_stage_ends_the_run(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A WAT file cannot be read, so later stages would lack its rows."""
    wats = tmp_path / "wats"
    shutil.copytree(chain.place("wats"), wats)
    first = next(iter(sorted(wats.iterdir())))
    first.chmod(0o000)
    if os.access(first, os.R_OK):  # root reads everything
        first.unlink()
        first.symlink_to("/proc/self/mem")
    with ShapeWeb(chain.world) as address:
        config = write_config(chain, tmp_path, address, extract={"wat": str(wats)})
        assert cli.run(["run", "--config", config]) == 1
    output = capsys.readouterr().out
    assert "laion run stopped at extract" in output
    assert not (tmp_path / "all" / "dedup").exists()
    assert "incomplete" in (tmp_path / "all" / "report.html").read_text()
