"""Shards of samples are found in what people have, and read alike."""

from __future__ import annotations

import io
import json
import math
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.core.failure import UsageError
from laion.samples import source
from laion.samples.source import SampleShards, find_shards
from tests.manage.img2dataset_folder import write_shard

JPEG = b"\xff\xd8 a"


def columns(index: int) -> dict[str, Any]:
    return {"score": math.nan if index else 0.5, "caption": f"picture {index}"}


def found(shards: SampleShards) -> list[tuple[str, bytes | None, str | None]]:
    samples = [sample for shard in shards.shards for sample in shard.samples()]
    return [(sample.key, sample.body, sample.caption) for sample in samples]


@pytest.mark.parametrize("kind", ["files", "webdataset", "parquet"])
def test_folders_of_img2dataset_give_the_same_samples(tmp_path: Path, kind: str) -> None:
    for number in (0, 1):
        write_shard(tmp_path, number, kind=kind, columns=columns, image=lambda n: JPEG + bytes([n]))
    shards = find_shards(str(tmp_path))
    assert [shard.name.partition(".")[0] for shard in shards.shards] == ["00000", "00001"]
    keys = [f"{number:05d}{index}" for number in (0, 1) for index in (0, 2, 4, 7, 9)]
    assert sorted(found(shards)) == [
        (key, JPEG + bytes([int(key[-1])]), f"picture {key[-1]}") for key in keys
    ]
    samples = {s.key: s for shard in shards.shards for s in shard.samples()}
    assert samples["000000"].fields["score"] == 0.5
    assert samples["000002"].fields["score"] is None
    assert samples["000002"].fields["url"] == "http://h.example/photo/2.jpg"
    assert not any(sample.flaw for sample in samples.values())
    path = samples["000002"].fields.get("image_path")
    assert path == (str(tmp_path / "00000" / "000002.jpg") if kind == "files" else None)


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def test_a_folder_of_images_and_texts(tmp_path: Path) -> None:
    folder = write_files(
        tmp_path / "mine",
        {
            "a.jpg": b"1", "a.txt": b"one", "a.json": b'{"license": "?"}',
            "cats/b.v2.PNG": b"2", "cats/b.v2.txt": b"two",
            "cats/c.jpg": b"3", "cats/c.webp": b"4", "cats/c.txt": b"both",
            "d.jpeg": b"5", "e.txt": b"alone",
            "notes.json": b"{}", ".hidden.jpg": b"x", "_img2ds/f.jpg": b"x", "read.me": b"x",
        },
    )  # fmt: skip
    shards = find_shards(str(folder))
    assert found(shards) == [
        ("a", b"1", "one"),
        ("cats/b.v2", b"2", "two"),
        ("cats/c", b"3", "both"),
        ("cats/c.webp", b"4", "both"),
        ("d", b"5", None),
        ("e", None, "alone"),
    ]
    first = next(shards.shards[0].samples())
    assert first.fields == {"license": "?", "image_path": str(folder / "a.jpg")}
    assert found(find_shards(str(folder / "cats/c.*"))) == [
        ("c", b"3", "both"),
        ("c.webp", b"4", "both"),
    ]


def test_many_files_are_many_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_files(tmp_path, {f"{n}.jpg": b"1" for n in range(5)})
    before = find_shards(str(folder)).fingerprint()
    monkeypatch.setattr(source, "FILES_PER_SHARD", 2)
    shards = find_shards(str(folder))
    assert [len(list(shard.samples())) for shard in shards.shards] == [2, 2, 1]
    assert shards.fingerprint() == before
    (folder / "0.jpg").write_bytes(b"22")
    assert find_shards(str(folder)).fingerprint() != before


def test_tars_of_any_name(tmp_path: Path) -> None:
    for name, mode in (("a.tar", "w"), ("b.tar.gz", "w:gz"), ("c.tgz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as file:  # type: ignore[call-overload]
            member = tarfile.TarInfo(f"{name[0]}.jpg")
            member.size = 1
            file.addfile(member, io.BytesIO(b"x"))
    assert [key for key, *_ in found(find_shards(str(tmp_path)))] == ["a", "b", "c"]
    assert [key for key, *_ in found(find_shards(str(tmp_path / "*.tgz")))] == ["c"]


def test_a_table_of_others(tmp_path: Path) -> None:
    rows = {
        "png": pa.array([b"1", None, b"3", b"4"]),
        "caption": ["one", "two", None, "four"],
        "key": ["a", "b", "c", "a"],
        "embedding": pa.array([b"0"] * 4),
    }
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    (shard,) = find_shards(str(tmp_path / "a.parquet")).shards
    samples = list(shard.samples())
    assert [sample.lack() for sample in samples] == [
        None,
        "no_image",
        "no_caption",
        "duplicate_key",
    ]
    assert samples[0].fields == {"caption": "one", "key": "a"}
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-50])
    with pytest.raises(UsageError, match="cannot be read as parquet"):
        find_shards(str(tmp_path / "b.parquet"))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "has no samples"),
        ({"a.html": b""}, "has no samples"),
        (None, "there is no file or folder"),
    ],
)
def test_what_has_no_samples(tmp_path: Path, files: Any, words: str) -> None:
    folder = tmp_path / "mine"
    if files is not None:
        folder.mkdir()
        write_files(folder, files)
    with pytest.raises(UsageError, match=words):
        find_shards(str(folder))


def test_a_table_of_links_is_no_table_of_images(tmp_path: Path) -> None:
    """So is a folder of img2dataset whose tars were moved away."""
    write_shard(tmp_path, 0)
    (tmp_path / "00000.tar").unlink()
    with pytest.raises(UsageError, match="has no column of images"):
        find_shards(str(tmp_path))


@pytest.mark.parametrize("made", ["tfrecord", "dummy"])
def test_formats_that_are_not_read(tmp_path: Path, made: str) -> None:
    (tmp_path / "_img2ds").mkdir()
    segment = {"fingerprint": {"files": []}, "options": {"output_format": made}, "first_shard": 0,
               "shard_count": 1}  # fmt: skip
    manifest = json.dumps({"version": 1, "segments": [segment]})
    (tmp_path / "_img2ds" / "manifest.json").write_text(manifest)
    with pytest.raises(UsageError, match=f"with --output_format {made}, which laion does not"):
        find_shards(str(tmp_path))
