"""Whole runs in every output format: the same samples in each, and in each as hard to lose."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import img2ds
from img2ds.core.failure import UsageError
from img2ds.core.naming import data_name, format_names
from tests.contract.samples_and_readers import (
    Read,
    read_files,
    read_litdata,
    read_mds,
    read_parquet,
    read_tar,
    read_tfrecord,
)
from tests.downloader.test_job import (
    IMAGES,
    PER_SHARD,
    ROOT,
    Background,
    check_counts,
    command,
    flags,
    markers,
    read_until,
    start,
    write_list,
)
from tests.server.sample_web import links
from tests.state import data_names, remove_state

READERS: dict[str, Read] = {
    "files": read_files,
    "webdataset": read_tar,
    "parquet": read_parquet,
    "tfrecord": read_tfrecord,
    "mds": read_mds,
    "litdata": read_litdata,
}
FORMATS = sorted(READERS)
SHARDS = IMAGES // PER_SHARD


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with Background() as address:
        yield address


def stored_images(folder: Path, output_format: str) -> dict[str, tuple[bytes, str | None]]:
    """Images and captions of the committed shards, by key."""
    found: dict[str, tuple[bytes, str | None]] = {}
    for marker in sorted(markers(folder)):
        name = data_name(marker.removesuffix("_stats.json"), output_format)
        for key, (image, caption, _) in READERS[output_format](folder / name).items():
            found[key] = (image, caption)
    return found


def entries(folder: Path) -> set[str]:
    """The entries of an output folder, except those of img2ds itself."""
    return data_names(folder)


def expected(output_format: str, shards: int = SHARDS) -> set[str]:
    names = [f"{number:05d}" for number in range(shards)]
    index = format_names(output_format).index
    return {
        name + suffix
        for name in names
        for suffix in (data_name("", output_format), ".parquet", "_stats.json")
    } | ({index} if index else set())


def test_every_format_has_the_same_samples(tmp_path: Path, address: str) -> None:
    rows = list(links(IMAGES))
    urls = [row.url for row in rows]
    texts = [row.caption if place % 9 else None for place, row in enumerate(rows)]
    pq.write_table(pa.table({"url": urls, "text": texts}), tmp_path / "list.parquet")
    found, tables = {}, {}
    for output_format in FORMATS:
        out = tmp_path / output_format
        report = img2ds.download(
            **flags(address, tmp_path / "list.parquet", out, caption_col="text",
                    output_format=output_format)
        )  # fmt: skip
        assert report.exit_code == 0
        check_counts(out, report, len(rows))
        assert entries(out) == expected(output_format, -(-len(rows) // PER_SHARD))
        found[output_format] = stored_images(out, output_format)
        parts = [pq.read_table(path) for path in sorted(out.glob("*.parquet"))]
        tables[output_format] = pa.concat_tables(parts)
    assert len(found["webdataset"]) == sum(row.reason is None for row in rows)
    for output_format in ("files", "tfrecord"):
        assert found[output_format] == found["webdataset"]
        assert tables[output_format] == tables["webdataset"]
    whole = tables["parquet"]
    assert whole.column_names == [*tables["webdataset"].column_names, "jpg"]
    assert whole.drop_columns(["jpg"]) == tables["webdataset"]
    assert whole["key"].to_pylist() == sorted(whole["key"].to_pylist())
    images = dict(zip(whole["key"].to_pylist(), whole["jpg"].to_pylist(), strict=True))
    assert {key: image for key, image in images.items() if image is not None} == {
        key: image for key, (image, _) in found["webdataset"].items()
    }


def test_the_format_need_not_be_named(tmp_path: Path, address: str) -> None:
    arguments = flags(address, write_list(tmp_path / "list.txt"), tmp_path / "out")
    del arguments["output_format"]
    assert img2ds.download(**arguments).exit_code == 0
    assert len(list((tmp_path / "out").glob("0000?/*.jpg"))) == IMAGES
    assert not list((tmp_path / "out").glob("0000?/*.txt"))


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_killed_and_resumed_run_equals_an_undisturbed_one(
    output_format: str, tmp_path: Path
) -> None:
    write_list(tmp_path / "list.txt")
    out, calm = tmp_path / "out", tmp_path / "calm"
    web = Background(gate=25)
    with web as address:
        arguments = flags(address, tmp_path / "list.txt", out, output_format=output_format)
        process = start(arguments)
        read_until(process.stderr, "shard 0000")
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        committed = markers(out)
        assert 0 < len(committed) < SHARDS
        web.open()
        report = img2ds.download(**arguments)
        assert report.shards_before == len(committed)
        assert committed.items() <= markers(out).items()
        assert not (out / ".img2ds").exists()
        img2ds.download(**{**arguments, "output_folder": str(calm)})
    assert stored_images(out, output_format) == stored_images(calm, output_format)
    assert entries(out) == entries(calm) == expected(output_format)


#: A run whose worker is killed before or after it has published its Nth file.
KILLED = """
import os, signal, sys
from img2ds import cli
from img2ds.storage import OutputFolder
publish, left = OutputFolder.publish, int(sys.argv[1])
def counted(folder, name):
    global left
    if name.startswith(".img2ds"):
        return publish(folder, name)
    left -= 1
    if left == 0 and sys.argv[2] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    publish(folder, name)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
OutputFolder.publish = counted
from img2ds.config.options import Options
from img2ds.downloader.planner import open_input
from img2ds.downloader.shard_worker import ShardWorker
from img2ds.downloader.job import _spec
from img2ds.engine.build import read_manifest
options = Options.from_flags(cli.read_flags(sys.argv[3:]))
folder = OutputFolder.open(options.output.output_folder)
source = open_input(options.input)
with folder.lock():
    read_manifest(folder, _spec(options, source, {}).segment).begin()
    ShardWorker(options, folder)(source.shards(10), lambda report: None)
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize("output_format", FORMATS)
def test_killed_while_a_shard_is_published(
    output_format: str, place: int, when: str, tmp_path: Path, address: str
) -> None:
    """Whichever files exist, a shard is rebuilt without its commit marker and kept with it."""
    out = tmp_path / "out"
    list_path = write_list(tmp_path / "list.txt", 0, PER_SHARD)
    arguments = flags(address, list_path, out, output_format=output_format)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(place), when, *command(arguments)[3:]],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    files = 2 if output_format == "parquet" else 3
    if place > files:
        assert killed.returncode == 0, killed.stderr
    else:
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert len(entries(out)) == place - (when == "before")
    before = markers(out)
    assert bool(before) == (place > files or (place == files and when == "after"))
    if out.joinpath("00000").is_dir() and not before:
        (out / "00000" / "000009999.jpg").write_bytes(b"of a list that was longer once")
    report = img2ds.download(**arguments)
    assert (report.exit_code, report.shards_before) == (0, len(before))
    assert before.items() <= markers(out).items()
    assert entries(out) == expected(output_format, 1)
    assert len(stored_images(out, output_format)) == PER_SHARD
    assert not (out / ".img2ds").exists()


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_second_run_changes_nothing_and_overwrite_starts_over(
    output_format: str, tmp_path: Path, address: str
) -> None:
    out = tmp_path / "a folder, #1 [ä] %41"
    arguments = flags(address, write_list(tmp_path / "list.txt"), out, output_format=output_format)
    img2ds.download(**arguments)
    before = markers(out)
    report = img2ds.download(**arguments)
    assert (report.shards_committed, report.shards_before) == (0, SHARDS)
    assert markers(out) == before
    (out / "00000_notes.txt").write_text("mine")
    (out / "2014").mkdir()
    (out / "2014" / "2014.jpeg").write_text("mine")
    write_list(tmp_path / "list.txt", 0, PER_SHARD)
    other = FORMATS[FORMATS.index(output_format) - 1]
    again = {**arguments, "incremental_mode": "overwrite", "output_format": other}
    assert img2ds.download(**again).shards_committed == 1
    assert entries(out) == expected(other, 1) | {"00000_notes.txt", "2014"}
    assert (out / "2014" / "2014.jpeg").read_text() == "mine"


@pytest.mark.parametrize(
    "output_format", [name for name in FORMATS if name not in ("mds", "litdata")]
)
def test_a_folder_begun_by_img2dataset_is_gone_on_with(
    output_format: str, tmp_path: Path, address: str
) -> None:
    out = tmp_path / "out"
    arguments = flags(address, write_list(tmp_path / "list.txt"), out, output_format=output_format)
    img2ds.download(**arguments)
    calm = stored_images(out, output_format)
    # What it would have left when it was killed in shard 3.
    remove_state(out)
    for path in out.glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["reason"]), path)
    for path in (out / "00003_stats.json", *out.glob("0000[45]*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (out / "00003.parquet").write_bytes(b"PAR1")
    if output_format == "files":
        next((out / "00003").glob("*.json")).unlink()
    other = FORMATS[FORMATS.index(output_format) - 1]
    with pytest.raises(UsageError, match=f"was written with --output_format {output_format}"):
        img2ds.download(**{**arguments, "output_format": other})
    report = img2ds.download(**arguments)
    assert (report.shards_before, report.shards_committed) == (3, 3)
    assert entries(out) == expected(output_format)
    assert stored_images(out, output_format) == calm


@pytest.mark.parametrize("output_format", ["files", "webdataset", "tfrecord"])
def test_a_folder_of_img2dataset_resumes_without_the_data_that_was_moved_away(
    output_format: str, tmp_path: Path, address: str
) -> None:
    out = tmp_path / "out"
    arguments = flags(address, write_list(tmp_path / "list.txt"), out, output_format=output_format)
    img2ds.download(**arguments)
    for path in out.glob(".img2ds*"):  # which img2dataset does not write
        path.unlink()
    for path in out.glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["reason"]), path)
    for path in out.glob("*_stats.json"):
        document = json.loads(path.read_text())
        del document["files"], document["reasons"]
        path.write_text(json.dumps(document))
    (out / "00005_stats.json").unlink()
    for number in range(6):
        data = out / data_name(f"{number:05d}", output_format)
        shutil.rmtree(data) if data.is_dir() else data.unlink()
    with pytest.raises(UsageError, match=r"00000\.parquet has no images, as --output_format par"):
        img2ds.download(**{**arguments, "output_format": "parquet"})
    report = img2ds.download(**arguments)
    assert (report.shards_before, report.shards_committed) == (5, 1)
    assert (out / data_name("00005", output_format)).exists()
    assert not (out / data_name("00000", output_format)).exists()


def test_a_run_with_other_image_options_does_not_resume(tmp_path: Path, address: str) -> None:
    out = tmp_path / "out"
    arguments = flags(address, write_list(tmp_path / "list.txt"), out, output_format="parquet")
    img2ds.download(**arguments)
    remove_state(out)
    with pytest.raises(UsageError, match="was written with --encode_format jpg"):
        img2ds.download(**arguments, encode_format="webp")


@pytest.mark.parametrize("held", ["a folder", "a file"])
def test_what_is_called_like_a_shard_is_not_replaced(
    held: str, tmp_path: Path, address: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if held == "a folder":
        (out / "00003").mkdir()
        (out / "00003" / "holiday.jpg").write_text("mine")
    else:
        (out / "00003").write_text("mine")
    arguments = flags(address, write_list(tmp_path / "list.txt"), out, output_format="files")
    for mode in ("incremental", "overwrite"):
        with pytest.raises(UsageError, match="00003 has a shard's name but was not written by"):
            img2ds.download(**arguments, incremental_mode=mode)
    assert img2ds.download(**{**arguments, "output_format": "parquet"}).exit_code == 0
    assert (out / "00003").exists()


def test_an_empty_shard_folder_belongs_to_no_run(tmp_path: Path, address: str) -> None:
    out = tmp_path / "out"
    (out / "00003").mkdir(parents=True)
    arguments = flags(address, write_list(tmp_path / "list.txt"), out, output_format="files")
    assert img2ds.download(**arguments).exit_code == 0
    assert len(os.listdir(out / "00003")) == 2 * PER_SHARD


def mark_files(folder: Path, shard: str = "00000") -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = json.loads((folder / f"{shard}_stats.json").read_text())["files"]
    return files


def test_the_marker_of_a_folder_has_one_entry(tmp_path: Path, address: str) -> None:
    out = tmp_path / "out"
    img2ds.download(**flags(address, write_list(tmp_path / "list.txt"), out, output_format="files"))
    folder, table = mark_files(out)
    assert (folder["name"], folder["files"], table["name"]) == (
        "00000", 2 * PER_SHARD, "00000.parquet",
    )  # fmt: skip
    assert "files" not in table
    process = subprocess.run(
        "sha256sum * | sha256sum", shell=True, cwd=out / "00000", capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    assert folder["sha256"] == process.split()[0]


#: Mounts a small disk on a folder and runs a command that writes there.
SMALL_DISK = (
    'mount -t tmpfs -o size="$1" none "$2" && shift 2 && "$@"; code=$?; ls "$OUT"; exit $code'
)


def entries_of(listing: str) -> set[str]:
    return {line for line in listing.splitlines() if line[:5].isdigit() and " " not in line}


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_full_disk_ends_the_run(output_format: str, tmp_path: Path, address: str) -> None:
    out = tmp_path / "disk"
    out.mkdir()
    arguments = flags(
        address, write_list(tmp_path / "list.txt"), out / "out", output_format=output_format
    )
    isolated = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else [])]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*isolated, "true"], check=False).returncode
    ):
        pytest.skip("no small disk can be mounted here")
    ended = subprocess.run(
        [*isolated, "sh", "-c", SMALL_DISK, "sh", "100k", str(out), *command(arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "OUT": str(out / "out")},
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert "cannot write to the output folder: no space left on device" in ended.stderr
    assert "rerun the same command to resume" in ended.stdout
    assert "Traceback" not in ended.stderr
    # What was listed before the disk was gone: whole shards.
    left = entries_of(ended.stdout)
    assert left == {name for name in expected(output_format) if name[:5] + "_stats.json" in left}


def test_without_the_package_for_checksums(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "crc32c", None)
    arguments = flags(address, write_list(tmp_path / "list.txt"), tmp_path / "out")
    with pytest.raises(UsageError, match=r"pip install 'img2ds\[tfrecord\]'"):
        img2ds.download(**{**arguments, "output_format": "tfrecord"})
    assert not (tmp_path / "out").exists()
