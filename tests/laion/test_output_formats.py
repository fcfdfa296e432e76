"""Folders that img2ds made in a format without tars, given to what reads tars."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from img2ds.core.failure import UsageError
from laion.cli import run
from laion.tag.purge import open_shards
from laion.web.shard_images import ShardImages


@pytest.fixture(params=["files", "parquet", "tfrecord"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder of img2ds, as far as it is checked."""
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "00000.parquet").touch()
    options = {"output_format": request.param}
    segment = {"fingerprint": {"files": []}, "options": options, "first_shard": 0,
               "shard_count": 1}  # fmt: skip
    manifest = json.dumps({"version": 1, "segments": [segment]})
    (folder / ".img2ds-manifest").write_text(manifest)
    return folder


@pytest.mark.parametrize("images", ["tfrecord"], indirect=True)
def test_scoring_says_what_it_reads(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = images.parent / "scored"
    assert run(["score", "--input", str(images), "--output_folder", str(out), "--model", "x"]) == 2
    stderr = capsys.readouterr().err
    assert "was downloaded with --output_format" in stderr
    assert stderr.endswith("download with --output_format webdataset, as laion download does\n")
    assert len(stderr.splitlines()) == 1
    assert not out.exists()


def test_the_page_says_what_it_reads(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="was downloaded with --output_format"):
        ShardImages(str(images), str(tmp_path), False, lambda *_: None)


def test_purging_says_what_it_reads(images: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder of webdataset shards"):
        open_shards(str(images))
