"""Images in tars: found by key or URL, tables cached, damage reported."""

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
            for member in [(f"{key}.jpg", b"image %d" % (10 * shard + row)), (f"{key}.txt", b"t")]
        ]
        write_tar(folder / f"{shard:05d}.tar", members)
    return folder


def opened(folder: Path, tmp_path: Path, by_url: bool = False) -> ShardImages:
    return ShardImages(str(folder), str(tmp_path / "cache"), by_url, lambda *_: None)


def test_every_image_is_found_by_its_key(shards: Path, tmp_path: Path) -> None:
    for _ in range(2):  # the second time from the cached tables
        images = opened(shards, tmp_path)
        for shard in range(3):
            for row in range(5):
                assert images.read(f"{shard:05d}{row:04d}") == b"image %d" % (10 * shard + row)
        assert images.read("000000009") is None
        assert images.read("") is None


def test_keys_of_other_tools_and_long_names(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    long = "x" * 300
    write_tar(folder / "a.tar", [("dir/cat.WEBP", b"cat"), (f"{long}.png", b"long")])
    write_tar(folder / "b.tar", [(f"dog{long}.gif", b"dog")], tarfile.GNU_FORMAT)
    images = opened(folder, tmp_path)
    assert [images.read(key) for key in ("cat", long, f"dog{long}")] == [b"cat", b"long", b"dog"]


def test_a_changed_tar_is_rescanned(shards: Path, tmp_path: Path) -> None:
    opened(shards, tmp_path)
    write_tar(shards / "00001.tar", [("000010000.jpg", b"another")])
    os.utime(shards / "00001.tar", ns=(1, 1))
    images = opened(shards, tmp_path)
    assert images.read("000010000") == b"another"
    assert images.read("000010001") is None


def test_rows_without_keys_are_found_by_their_urls(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no columns key and url"):
        opened(shards, tmp_path, by_url=True)
    for shard in range(3):
        keys = [f"{shard:05d}{row:04d}" for row in range(5)]
        urls = [f"http://x.example/{key}" for key in keys]
        pq.write_table(pa.table({"url": urls, "key": keys}), shards / f"{shard:05d}.parquet")
    images = opened(shards, tmp_path, by_url=True)
    assert images.read("http://x.example/000020003") == b"image 23"
    assert images.read("000020003") is None


def test_a_read_only_index_folder_works(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in place of the folder")
    assert opened(shards, tmp_path).read("000000002") == b"image 2"


def test_folders_without_tars_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        opened(tmp_path / "nowhere", tmp_path)
    folder = tmp_path / "shards"
    folder.mkdir()
    with pytest.raises(UsageError, match=r"has no \.tar files"):
        opened(folder, tmp_path)
    (folder / "00000.tar").write_bytes(b"no tar" * 500)
    with pytest.raises(UsageError, match=r"00000\.tar' cannot be read as a tar"):
        opened(folder, tmp_path)
