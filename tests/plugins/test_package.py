"""The package of docs/plugins.md: every kind of plug-in in whole runs, by its names alone."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.plugins.package import PAGE, environment, install

#: Rows: sharp images, one that is even, one that is no image, and one that is not there.
SHARP, EVEN, BROKEN, MISSING = 6, 6, 7, 8


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools")
    return install(tmp_path_factory.mktemp("plugins"))


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of URLs of files."""
    folder = tmp_path_factory.mktemp("images")
    dice = np.random.default_rng(1)
    rows = []
    for number in range(MISSING + 1):
        path = folder / f"{number}.png"
        pixels = dice.integers(0, 256, (40, 60, 3), np.uint8)
        if number == EVEN:
            pixels[:] = 90
        if number == BROKEN:
            path.write_bytes(b"<html>")
        elif number != MISSING:
            Image.fromarray(pixels).save(path)
        rows.append((path.as_uri(), f"image {number}"))
    database = folder / "urls.sqlite"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE images (url TEXT, caption TEXT)")
        connection.executemany("INSERT INTO images VALUES (?, ?)", rows)
    connection.close()
    return database


def run(installed: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "img2ds", *map(str, arguments)],
        env=environment(installed), capture_output=True, text=True, check=False,
    )  # fmt: skip


def download(installed: Path, urls: Path, out: Path, *more: object) -> str:
    done = run(
        installed, "--url_list", urls, "--input_format", "sqlite", "--caption_col", "caption",
        "--fetcher", "fsspec", "--filter", "sharp", "--transform", "grey",
        "--output_format", "zip", "--output_folder", out, "--image_size", 32,
        "--resize_mode", "center_crop", "--encode_format", "png", "--number_sample_per_shard", 5,
        "--processes_count", 1, *more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def check(out: Path) -> None:
    """Check the samples and the counts of a whole dataset."""
    keys = set()
    for path in sorted(out.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                key, _, extension = name.partition(".")
                keys.add(key)
                if extension == "png":
                    pixels = np.asarray(Image.open(io.BytesIO(archive.read(name))))
                    assert pixels.shape == (32, 32, 3)
                    assert (pixels == pixels[:, :, :1]).all(), "it is grey"
                else:
                    number = int(key[-1]) + 5 * int(key[:5])
                    assert archive.read(name) == f"image {number}".encode()
    assert len(keys) == SHARP
    stats = [json.loads(path.read_text()) for path in sorted(out.glob("*_stats.json"))]
    assert [s["count"] for s in stats] == [5, 4]
    assert stats[1]["reasons"] == {"filtered": 1, "not_an_image": 1, "http_404": 1}
    assert stats[1]["status_dict"]["sharp: blurry"] == 1


@pytest.mark.parametrize("distributor", ["multiprocessing", "ray", "pyspark"])
def test_all_plug_ins_in_one_run(
    distributor: str, installed: Path, urls: Path, tmp_path: Path
) -> None:
    if distributor != "multiprocessing":
        pytest.importorskip(distributor)
    if distributor == "pyspark" and shutil.which("java") is None:
        pytest.skip("there is no Java")
    download(installed, urls, tmp_path / "out", "--distributor", distributor)
    check(tmp_path / "out")


@pytest.fixture(scope="module")
def dataset(installed: Path, urls: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dataset") / "out"
    download(installed, urls, out)
    return out


def test_commands_work_with_an_output_format_of_a_plug_in(
    installed: Path, dataset: Path, tmp_path: Path
) -> None:
    status = run(installed, "status", "--output_folder", dataset, "--json")
    assert status.returncode == 0, status.stderr
    assert not json.loads(status.stdout).get("unrecognized")
    assert run(installed, "verify", "--output_folder", dataset, "--decode").returncode == 0
    packed = tmp_path / "packed"
    done = run(installed, "reshard", "--output_folder", dataset, "--to", packed)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(packed / "00000.zip") as archive:
        assert len(archive.namelist()) == 2 * SHARP
    done = run(
        installed, "reshard", "--output_folder", dataset, "--to", tmp_path / "tars",
        "--output_format", "webdataset",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    damaged = tmp_path / "damaged"
    shutil.copytree(dataset, damaged)
    data = bytearray((damaged / "00000.zip").read_bytes())
    data[100] ^= 1
    (damaged / "00000.zip").write_bytes(data)
    assert run(installed, "verify", "--output_folder", damaged).returncode == 1


def test_a_missing_shard_is_made_again_with_the_same_bytes(
    installed: Path, dataset: Path, urls: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(dataset, out)
    (out / "00001_stats.json").unlink()
    (out / "00001.parquet").unlink()
    assert "1 shard committed before" in download(installed, urls, out)
    check(out)
    # Samples stand in the order in which they finish, which differs from run to run.
    before, after = (dataset / "00001.zip", out / "00001.zip")
    with zipfile.ZipFile(before) as one, zipfile.ZipFile(after) as other:
        names = sorted(one.namelist())
        assert names == sorted(other.namelist())
        assert all(one.read(name) == other.read(name) for name in names)


def test_other_plug_ins_are_refused(
    installed: Path, dataset: Path, urls: Path, tmp_path: Path
) -> None:
    done = run(
        installed, "--url_list", urls, "--input_format", "sqlite", "--caption_col", "caption",
        "--fetcher", "fsspec", "--output_format", "zip", "--output_folder", dataset,
        "--image_size", 32, "--resize_mode", "center_crop", "--encode_format", "png",
        "--number_sample_per_shard", 5,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--filter not given, there sharp; --transform not given, there grey" in done.stderr


def test_without_the_package_the_format_is_named(dataset: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "status", "--output_folder", dataset)
    assert done.returncode == 2
    assert "shards of an unknown format (zip): install the plug-in" in done.stderr


def test_retry_uses_the_plug_ins_of_the_folder(
    installed: Path, dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(dataset, out)
    done = run(installed, "retry", "--output_folder", out, "--reasons", "filtered,http_404")
    assert done.returncode == 0, done.stderr
    stats = json.loads((out / "00002_stats.json").read_text())
    assert stats["reasons"] == {"filtered": 1, "http_404": 1}


def test_doctor_lists_them(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "doctor", "--json", "--dns_servers", "127.0.0.1:9")
    texts = [f["text"] for f in json.loads(done.stdout)["findings"] if f["subject"] == "plug-in"]
    assert "--filter sharp of img2ds-example 1.0 (img2ds_example:sharp)" in texts
    assert len(texts) == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--filter", "shrap"], "--filter: unknown plug-in 'shrap'; did you mean sharp?"),
        (["--output_format", "zipp"], "got 'zipp'; did you mean zip?"),
        (["--filter", "img2ds_example:blunt"], "img2ds_example:blunt cannot be imported"),
        (["--filter", "nowhere:blunt"], "cannot be imported: No module named 'nowhere'"),
        (["--filter", "img2ds_example:ZIP"], "cannot be called, it is a OutputFormat"),
        (["--output_format", "img2ds_example:sharp"], "is no img2ds.plugin.OutputFormat"),
        (["--input_format", "img2ds_example:sharp"], "is no img2ds.plugin.InputFormat"),
        (["--fetcher", "img2ds_example:grey"], "--fetcher: img2ds_example:grey cannot be set up"),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(
    arguments: list[str], words: str, installed: Path, urls: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run(installed, "--url_list", PAGE, "--output_folder", out, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not out.exists()
