"""Pictures out of tars: found by key or URL, tables kept, damage told."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.core.failure import UsageError
from laion.web.shard_images import ShardImages


def write_tar(
    path: Path, members: Sequence[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT
) -> None:
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(3):
        members = [
            member
            for row in range(5)
            for key in [f"{shard:05d}{row:04d}"]
            for member in [(f"{key}.jpg", b"picture %d" % (10 * shard + row)), (f"{key}.txt", b"t")]
        ]
        write_tar(folder / f"{shard:05d}.tar", members)
    return folder


def opened(folder: Path, tmp_path: Path, by_url: bool = False) -> ShardImages:
    return ShardImages(str(folder), str(tmp_path / "kept"), by_url, lambda *_: None)


def test_every_picture_is_found_by_its_key(shards: Path, tmp_path: Path) -> None:
    for _ in range(2):  # the second time from the tables that were kept
        pictures = opened(shards, tmp_path)
        for shard in range(3):
            for row in range(5):
                assert pictures.read(f"{shard:05d}{row:04d}") == b"picture %d" % (10 * shard + row)
        assert pictures.read("000000009") is None
        assert pictures.read("") is None


def test_keys_of_other_makers_and_long_names(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    long = "x" * 300
    write_tar(folder / "a.tar", [("dir/cat.WEBP", b"cat"), (f"{long}.png", b"long")])
    write_tar(folder / "b.tar", [(f"dog{long}.gif", b"dog")], tarfile.GNU_FORMAT)
    pictures = opened(folder, tmp_path)
    assert [pictures.read(key) for key in ("cat", long, f"dog{long}")] == [b"cat", b"long", b"dog"]


def test_a_tar_that_changed_is_looked_through_again(shards: Path, tmp_path: Path) -> None:
    opened(shards, tmp_path)
    write_tar(shards / "00001.tar", [("000010000.jpg", b"another")])
    os.utime(shards / "00001.tar", ns=(1, 1))
    pictures = opened(shards, tmp_path)
    assert pictures.read("000010000") == b"another"
    assert pictures.read("000010001") is None


def test_rows_without_keys_are_found_by_their_urls(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not say which URL is which"):
        opened(shards, tmp_path, by_url=True)
    for shard in range(3):
        keys = [f"{shard:05d}{row:04d}" for row in range(5)]
        urls = [f"http://x.example/{key}" for key in keys]
        pq.write_table(pa.table({"url": urls, "key": keys}), shards / f"{shard:05d}.parquet")
    pictures = opened(shards, tmp_path, by_url=True)
    assert pictures.read("http://x.example/000020003") == b"picture 23"
    assert pictures.read("000020003") is None


def test_an_index_folder_that_may_only_be_read_is_no_hindrance(
    shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "kept").write_text("a file where the folder should be")
    assert opened(shards, tmp_path).read("000000002") == b"picture 2"


def test_folders_without_tars_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        opened(tmp_path / "nowhere", tmp_path)
    folder = tmp_path / "shards"
    folder.mkdir()
    with pytest.raises(UsageError, match=r"has no \.tar in it"):
        opened(folder, tmp_path)
    (folder / "00000.tar").write_bytes(b"no tar" * 500)
    with pytest.raises(UsageError, match=r"00000\.tar cannot be read as a tar"):
        opened(folder, tmp_path)
