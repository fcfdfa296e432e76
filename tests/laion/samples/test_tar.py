"""Reading webdataset tars of different writers, and damaged ones."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from img2ds.core.failure import UsageError
from laion.samples import sample
from laion.samples.tar import read_tar


def write(path: Path, members: dict[str, bytes], style: int = tarfile.USTAR_FORMAT) -> str:
    mode = "w:gz" if path.name.endswith(".gz") else "w"
    with tarfile.open(path, mode, format=style) as file:  # type: ignore[call-overload]
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return str(path)


def test_members_that_share_a_key_are_one_sample(tmp_path: Path) -> None:
    path = write(
        tmp_path / "0.tar",
        {
            "000.jpg": b"image",
            "000.txt": "a café".encode(),
            "000.json": b'{"url": "u", "width": 3}',
            "001.JPG": b"other",
            "folder/000.png": b"third",
        },
    )
    first, second, third = read_tar(path)
    assert (first.key, first.body, first.caption) == ("000", b"image", "a café")
    assert first.fields == {"url": "u", "width": 3}
    assert (second.key, second.body, second.caption) == ("001", b"other", None)
    assert (third.key, third.body) == ("folder/000", b"third")


@pytest.mark.parametrize("field", ["caption", "TEXT", "text"])
def test_metadata_gives_the_caption_without_a_text_file(tmp_path: Path, field: str) -> None:
    path = write(tmp_path / "0.tar", {"0.json": b'{"%s": "text"}' % field.encode(), "0.jpg": b""})
    (sample,) = read_tar(path)
    assert sample.caption == "text"


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_every_style(tmp_path: Path, style: int) -> None:
    folder = "a" * 90
    name = f"{folder}/{'b' * 60}.jpg"
    path = write(tmp_path / "0.tar", {name: b"x" * 600, "c.jpg": b"y"}, style)
    assert [(s.key, s.body) for s in read_tar(path)] == [
        (name[:-4], b"x" * 600),
        ("c", b"y"),
    ]


def test_folders_and_files_without_an_ending_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as file:
        folder = tarfile.TarInfo("some.folder")
        folder.type = tarfile.DIRTYPE
        file.addfile(folder)
        file.addfile(tarfile.TarInfo("README"))
        file.addfile(tarfile.TarInfo("0.jpg"))
    assert [sample.key for sample in read_tar(str(path))] == ["0"]


@pytest.mark.parametrize("name", ["0.tar.gz", "0.tgz", "0.tar"])
def test_gzipped_shards(tmp_path: Path, name: str) -> None:
    """By their first bytes, as webdataset does: the name need not tell."""
    path = tmp_path / name
    plain = Path(write(tmp_path / "plain.tar", {"0.jpg": b"x" * 5000})).read_bytes()
    path.write_bytes(gzip.compress(plain))
    assert [(s.key, s.body) for s in read_tar(str(path))] == [("0", b"x" * 5000)]
    path.write_bytes(gzip.compress(plain)[:40])
    with pytest.raises((OSError, UsageError)):
        list(read_tar(str(path)))


def test_a_key_that_follows_itself_costs_its_rows(tmp_path: Path) -> None:
    """Nobody knows which of the captions belongs to which of the images."""
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as file:
        for name in ("0.jpg", "0.txt", "1.jpg", "1.JPG", "1.txt", "1.txt", "2.jpg", "0.jpg"):
            file.addfile(tarfile.TarInfo(name))
    flaws = [(sample.key, sample.flaw) for sample in read_tar(str(path))]
    assert flaws == [
        ("0", None),
        ("1", "duplicate_key"),
        ("1", "duplicate_key"),
        ("1", "duplicate_key"),
        ("2", None),
        ("0", "duplicate_key"),
    ]


def test_nan_is_null(tmp_path: Path) -> None:
    """img2dataset writes it for a missing number."""
    json = b'{"score": NaN, "sizes": [1, NaN], "best": Infinity, "url": "u"}'
    path = write(tmp_path / "0.tar", {"0.jpg": b"x", "0.json": json})
    (sample,) = read_tar(path)
    assert sample.flaw is None
    assert sample.fields == {"score": None, "sizes": [1, None], "best": float("inf"), "url": "u"}


def test_metadata_that_are_no_json_are_the_samples_flaw(tmp_path: Path) -> None:
    path = write(tmp_path / "0.tar", {"0.jpg": b"x", "0.json": b"{", "1.json": b"[]"})
    assert [sample.flaw for sample in read_tar(path)] == ["bad_metadata", "bad_metadata"]


def test_members_that_are_too_large_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "MAX_FILE", 1000)
    path = write(tmp_path / "0.tar", {"0.jpg": b"x" * 5000, "1.jpg": b"y" * 1000})
    first, second = read_tar(path)
    assert (first.flaw, first.body) == ("too_large", None)
    assert second.body == b"y" * 1000


def test_a_tar_that_is_cut_short_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "0.tar", {f"{n}.jpg": b"x" * 2000 for n in range(3)})
    whole = Path(path).read_bytes()
    for length in (300, 1000, 2560, 2600):  # in a header, in a content, between two, in the next
        Path(path).write_bytes(whole[:length])
        with pytest.raises(OSError, match="truncated"):
            list(read_tar(path))


def test_an_invalid_tar_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    path.write_bytes(b"<html>" * 200)
    with pytest.raises(OSError, match="not a tar"):
        list(read_tar(str(path)))
    damaged = bytearray(Path(write(tmp_path / "1.tar", {"0.jpg": b"x"})).read_bytes())
    damaged[3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(OSError, match="damaged"):
        list(read_tar(str(path)))


def test_a_shard_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        list(read_tar(str(tmp_path / "0.tar")))
