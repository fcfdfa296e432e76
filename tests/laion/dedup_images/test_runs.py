"""`laion dedup_images` on every distributor, and killed in every pass: the result is the same."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import img2ds.engine.build
from laion import cli
from laion.dedup_images import stage
from laion.dedup_images.options import DedupImagesOptions
from laion.dedup_images.stage import run
from tests.laion.dedup_images import planted_folder
from tests.laion.dedup_images.hashed_folder import write_hashed
from tests.laion.dedup_images.planted_folder import (
    GROUPS,
    ROWS,
    SHARDS,
    InProcess,
    content,
    kept_keys,
    write_planted,
)
from tests.laion.dedup_images.seeded_images import encoded, scene, watermarked
from tests.laion.embedding_folders import row, write_tree

ROOT = Path(__file__).parents[3]
in_process = planted_folder.in_process

#: The flags of a run, and what its rows are dropped for.
CASES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "embedding": ({"clusters": 8}, {"near_duplicate"}),
    "evaluation": (
        {"clusters": 8, "decontaminate": ("val",)}, {"near_duplicate", "evaluation_image"},
    ),
    "hash": ({"by": "hash", "shards": "shards"}, {"near_duplicate_hash"}),
    "evaluation by hash": (
        {"by": "hash", "shards": "shards", "decontaminate": ("images",)},
        {"near_duplicate_hash", "evaluation_image"},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with inputs, shards and evaluation sets."""
    place = tmp_path_factory.mktemp("runs")
    planted = write_planted(place / "planted")
    images = {0: planted.vectors[np.flatnonzero(planted.group >= GROUPS)[:5]]}
    write_tree(place / "val", {0: [row(n, key=f"val/{n}") for n in range(5)]}, images=images,
               texts=images, stage=None)  # fmt: skip
    write_hashed(place)
    (place / "images").mkdir()
    for n in (2, 15):
        (place / f"images/{n}.jpg").write_bytes(encoded(watermarked(scene(n))))
    return place


def flags_of(place: Path, case: str) -> dict[str, Any]:
    flags = dict(CASES[case][0])
    for name in ("shards", "decontaminate"):
        if name in flags:
            given = flags[name]
            flags[name] = (
                str(place / given)
                if isinstance(given, str)
                else tuple(str(place / g) for g in given)
            )
    return {"input": str(place / ("scored" if "by" in flags else "planted")), **flags}


@pytest.fixture(scope="module")
def calm(place: Path) -> dict[str, Any]:
    """What undisturbed runs in one process give."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(img2ds.engine.build, "open_distributor", lambda *_, **__: InProcess())
        for case, (_, reasons) in CASES.items():
            out = place / f"calm {case}"
            report = run(DedupImagesOptions(output_folder=str(out), **flags_of(place, case)))
            assert set(report.total.reasons) == reasons
            found[case] = content(out)
    return found


@pytest.mark.parametrize("case", ["evaluation", "evaluation by hash"])
def test_every_distributor_gives_the_same(
    place: Path, calm: dict[str, Any], tmp_path: Path, case: str, distributor_name: str
) -> None:
    report = run(DedupImagesOptions(
        output_folder=str(tmp_path), processes_count=2, distributor=distributor_name,
        **flags_of(place, case),
    ))  # fmt: skip
    assert report.exit_code == 0, report.text
    assert content(tmp_path) == calm[case]


#: Kills the run when it publishes a file for the first time.
KILLS = """
import os, signal, sys
import img2ds.engine.build
import img2ds.storage.output as output
from tests.laion.dedup_images.planted_folder import InProcess

publish = output.OutputFolder.publish
def killed(folder, name):
    if name == sys.argv[1] and folder.path.endswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return publish(folder, name)
output.OutputFolder.publish = killed
img2ds.engine.build.open_distributor = lambda *_, **__: InProcess()
from laion import cli
sys.exit(cli.run(sys.argv[3:]))
"""


def kill(place: Path, out: Path, case: str, name: str, folder: str) -> list[str]:
    """Kill a run, and return the command that resumes it."""
    given = {"output_folder": str(out), **flags_of(place, case)}
    command = ["dedup_images"]
    for flag, value in given.items():
        command += [f"--{flag}", ",".join(value) if isinstance(value, tuple) else str(value)]
    killed = subprocess.run([sys.executable, "-c", KILLS, name, folder, *command], cwd=ROOT,
                            check=False)  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    return command


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("case", "name", "folder"),
    [
        ("embedding", "00001.records", "scatter-embedding"),
        ("embedding", "00000_stats.json", "compare-embedding"),
        ("embedding", "00002.links", "gather"),
        ("embedding", "duplicates/duplicates_00001.parquet", "out"),
        # Evaluation images are the batch after those of the rows.
        ("evaluation", "00003_stats.json", "scatter-embedding"),
        ("hash", "00001_stats.json", "hash"),
        ("evaluation by hash", "00002_stats.json", "scatter-hash"),
        ("evaluation by hash", "00001_stats.json", "out"),
    ],
)
def test_a_killed_run_resumes(
    place: Path, calm: dict[str, Any], tmp_path: Path, case: str, name: str, folder: str
) -> None:
    out = tmp_path / "out"
    command = kill(place, out, case, name, folder)
    (work,) = (out / ".img2ds").glob("images-*")
    made = {path: path.stat().st_mtime_ns for path in work.glob("*/*_stats.json")}
    assert made
    times: dict[Path, int] = {}

    def watch(*arguments: Any) -> Any:
        times.update({path: path.stat().st_mtime_ns for path in made if path.exists()})
        return write(*arguments)

    write = stage.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "write", watch)
        assert cli.run(command) == 0
    assert times == made  # what was done is not done again
    assert content(out) == calm[case]
    assert not (out / ".img2ds").exists()


@pytest.mark.usefixtures("in_process")
def test_other_options_do_not_meet_what_a_killed_run_left(place: Path, tmp_path: Path) -> None:
    kill(place, tmp_path / "out", "embedding", "00000.links", "gather")
    run(DedupImagesOptions(
        input=str(place / "planted"), output_folder=str(tmp_path / "out"), threshold=0.83,
        clusters=1,
    ))  # fmt: skip
    assert len(kept_keys(tmp_path / "out")) == SHARDS * ROWS - 3 * GROUPS
    assert not (tmp_path / "out/.img2ds").exists()
