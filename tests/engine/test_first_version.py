"""Folders of the first version are resumed, verified, retried and packed; see tests/data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import img2ds
from img2ds import cli
from img2ds.config.options import IMAGE_FORMATS
from img2ds.core.failure import UsageError
from img2ds.core.state import MANIFEST, name_before
from img2ds.engine.manifest import read_segments
from img2ds.manage.options import ReshardOptions, VerifyOptions
from img2ds.manage.reshard import run as reshard
from img2ds.manage.verify import run as verify
from img2ds.storage import OutputFolder
from laion import cli as laion_cli
from laion.wat.catalog import digest, find_wats
from tests.downloader.test_job import Background, network

OLD = Path(__file__).parents[1] / "data" / "first_version"


def times(folder: Path, shard: str) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(f"{shard}*")}


@pytest.mark.parametrize(
    ("output_format", "missing", "kept"), [("webdataset", 2, "00001"), ("files", 1, "00000")]
)
def test_it_is_resumed_verified_and_retried(
    tmp_path: Path, output_format: Any, missing: int, kept: str
) -> None:
    out = shutil.copytree(OLD / output_format, tmp_path / "out")
    before = times(out, kept)
    assert cli.run(["status", f"--output_folder={out}"]) == 1  # a shard is missing
    assert (out / name_before(MANIFEST)).exists(), "reading it moves nothing"
    with Background() as address:
        report = img2ds.download(
            url_list=str(OLD / "list.txt"), output_folder=str(out), output_format=output_format,
            number_sample_per_shard=2, processes_count=1, image_size=8, extract_exif=False,
            **network(address),
        )  # fmt: skip
        assert (report.exit_code, report.shards_before, report.shards_committed) == (0, 2, 1)
        assert times(out, kept) == before
        assert (out / MANIFEST).exists()
        assert not (out / "_img2ds").exists()
        marker = json.loads((out / f"0000{missing}_stats.json").read_text())
        old = json.loads((out / f"{kept}_stats.json").read_text())
        assert marker.keys() == old.keys() | {"digest", "durations"}
        assert verify(VerifyOptions(output_folder=str(out), processes_count=1)).exit_code == 0
        flags = [f"--{name}={value}" for name, value in network(address).items()]
        arguments = ["retry", f"--output_folder={out}", "--processes_count=1", *flags]
        assert cli.run(arguments) == 0
    assert json.loads((out / "00003_stats.json").read_text())["reasons"] == {"http_500": 1}
    first, second = read_segments(OutputFolder.open(str(out)))
    assert (first.shard_count, second.first_shard) == (3, 3)
    assert first.options["image_formats"] == ["jpeg", "png", "webp", "gif"]
    with pytest.raises(UsageError, match="image_formats"):
        img2ds.download(
            url_list=str(OLD / "list.txt"), output_folder=str(out), output_format=output_format,
            number_sample_per_shard=2, image_size=8, extract_exif=False,
            image_formats=list(IMAGE_FORMATS),
        )  # fmt: skip


def test_its_successes_are_packed(tmp_path: Path) -> None:
    out = shutil.copytree(OLD / "webdataset", tmp_path / "out")
    report = reshard(
        ReshardOptions(
            output_folder=str(out), to=str(tmp_path / "packed"), number_sample_per_shard=3,
            processes_count=1,
        )
    )  # fmt: skip
    assert (report.exit_code, report.samples) == (0, 4)
    assert (out / name_before(MANIFEST)).exists(), "it was only read"


def test_a_stage_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = shutil.copytree(OLD / "extract", tmp_path / "extract")
    shutil.copytree(OLD / "wats", tmp_path / "wats")
    monkeypatch.chdir(tmp_path)
    # The digest of WAT files is of their whole paths, which are others on every machine.
    place = out / name_before(MANIFEST)
    manifest = json.loads(place.read_text())
    manifest["segments"][0]["fingerprint"]["digest"] = digest(find_wats("wats"))
    place.write_text(json.dumps(manifest))
    before = times(out, "00000")
    arguments = ["extract", "--wat", "wats", "--output_folder", "extract", "--languages", "all"]
    assert laion_cli.run([*arguments, "--processes_count", "1"]) == 0
    assert times(out, "00000") == before
    marker = json.loads((out / "00001_stats.json").read_text())
    assert (marker["count"], marker["successes"], marker["license_?"]) == (3, 3, 3)
    old = json.loads((out / "00000_stats.json").read_text())
    assert marker.keys() == old.keys() | {"digest"}
