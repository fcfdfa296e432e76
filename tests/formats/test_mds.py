"""mds: the index of the folder, limits, and damage. Readers' own tests are in tests/readers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import img2ds
from img2ds.formats import mds, sample_file
from img2ds.formats.contract import DamagedShardError
from img2ds.manage import retry
from img2ds.manage.options import ReshardOptions, RetryFlags, RetryOptions
from img2ds.manage.reshard import run as reshard
from img2ds.storage import OutputFolder
from tests.contract.samples_and_readers import opened, read_mds, samples, table, write
from tests.server.served_rows import ROWS, serve_rows


@pytest.fixture(scope="module")
def web() -> Iterator[dict[str, Any]]:
    with serve_rows(image_size=32, output_format="mds") as flags:
        yield flags


def listed(folder: Path) -> dict[str, int]:
    """The samples of each shard by the index, which has to be true."""
    index = json.loads((folder / "index.json").read_text())
    found = {}
    for shard in index["shards"]:
        name = shard["raw_data"]["basename"]
        found[name] = shard["samples"]
        assert len(read_mds(folder / name)) == shard["samples"]
        assert (folder / name).stat().st_size == shard["raw_data"]["bytes"]
        assert len(shard["column_names"]) == len(shard["column_sizes"])
    return found


def test_the_index_follows_the_shards(web: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = img2ds.download(ROWS, output_folder=out, **web)
    whole = listed(out)
    assert sum(whole.values()) == report.tally.successes
    assert list(whole) == ["00000.mds", "00001.mds", "00002.mds"]
    (out / "index.json").write_text("{}")
    (out / "00001_stats.json").unlink()
    img2ds.download(ROWS, output_folder=out, **web)
    assert listed(out) == whole
    own = RetryFlags(output_folder=str(out), reasons=("http_404",))
    shared = {name: web[name] for name in ("connect_to", "allow_private_addresses")}
    retry.run(RetryOptions(own, {**shared, "processes_count": 1}))
    assert listed(out) == whole  # the retry's shard has no sample: readers do not take empty ones
    reshard(ReshardOptions(output_folder=str(out), to=str(tmp_path / "packed"), processes_count=1))
    assert listed(tmp_path / "packed") == {"00000.mds": report.tally.successes}


def test_the_index_is_written_again_when_a_rank_commits_meanwhile(
    web: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    img2ds.download(ROWS, output_folder=out, **web)
    whole = listed(out)
    marker = out / "00002_stats.json"
    content = marker.read_bytes()
    marker.unlink()
    folder = OutputFolder.open(str(out))
    write_bytes = OutputFolder.write_bytes

    def write_and_commit(self: OutputFolder, name: str, data: bytes) -> None:
        write_bytes(self, name, data)
        marker.write_bytes(content)

    monkeypatch.setattr(OutputFolder, "write_bytes", write_and_commit)
    mds.write_index(folder)
    assert listed(out) == whole


def test_a_shard_that_is_too_large_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_file, "_MOST", (1 << 24) + 2000)
    writer = opened(tmp_path, "mds")
    given = samples(True)
    with pytest.raises(OSError, match="lower --number_sample_per_shard"):
        list(map(writer.add, given))
    writer.abort()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:-1], "truncated"),
        (lambda data: data + b"x", "something after the last sample"),
        (lambda data: b"\xff" * 4 + data[4:], "not a file of mds"),
        (lambda data: data[:4] + data[8:12] + data[4:8] + data[12:], "not a file of mds"),
        (lambda data: data[:3], "not a file of mds"),
        (lambda data: data.replace(b'"column_names"', b'"column_nemas"', 1), "columns"),
    ],
    ids=["cut", "longer", "count", "offsets", "head", "columns"],
)
def test_damage_is_found(change: Any, words: str, tmp_path: Path) -> None:
    write(tmp_path, "mds", True)
    path = tmp_path / "00007.mds"
    path.write_bytes(change(path.read_bytes()))
    reader = mds.MDSReader(OutputFolder.open(str(tmp_path)), "00007.mds", "jpg")
    with pytest.raises(DamagedShardError, match=words):
        list(reader.samples())


def test_no_damage_raises_anything_else(tmp_path: Path) -> None:
    write(tmp_path, "mds", True)
    path = tmp_path / "00007.mds"
    whole = path.read_bytes()
    dice = np.random.default_rng(1)
    for place in dice.integers(0, 1000, 100):
        data = bytearray(whole)
        data[place] ^= 1 << int(dice.integers(8))
        path.write_bytes(data)
        reader = mds.MDSReader(OutputFolder.open(str(tmp_path)), "00007.mds", "jpg")
        try:
            list(reader.samples())
        except DamagedShardError:
            continue


def test_an_empty_shard_is_no_sample(tmp_path: Path) -> None:
    opened(tmp_path, "mds").finish(table([], True))
    reader = mds.MDSReader(OutputFolder.open(str(tmp_path)), "00007.mds", "jpg")
    assert list(reader.samples()) == []
