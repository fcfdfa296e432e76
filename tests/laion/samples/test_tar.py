"""Reading webdataset tars of different writers, and damaged ones."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from img2ds.core.failure import UsageError
from laion.clip import samples
from laion.clip.samples import read_samples


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
    first, second, third = read_samples(path)
    assert (first.key, first.body, first.caption) == ("000", b"image", "a café")
    assert first.fields == {"url": "u", "width": 3}
    assert (second.key, second.body, second.caption) == ("001", b"other", None)
    assert (third.key, third.body) == ("folder/000", b"third")


@pytest.mark.parametrize("field", ["caption", "TEXT", "text"])
def test_metadata_gives_the_caption_without_a_text_file(tmp_path: Path, field: str) -> None:
    path = write(tmp_path / "0.tar", {"0.json": b'{"%s": "text"}' % field.encode(), "0.jpg": b""})
    (sample,) = read_samples(path)
    assert sample.caption == "text"


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_every_style(tmp_path: Path, style: int) -> None:
    folder = "a" * 90
    name = f"{folder}/{'b' * 60}.jpg"
    path = write(tmp_path / "0.tar", {name: b"x" * 600, "c.jpg": b"y"}, style)
    assert [(s.key, s.body) for s in read_samples(path)] == [
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
    assert [sample.key for sample in read_samples(str(path))] == ["0"]


def test_gzipped_shards(tmp_path: Path) -> None:
    path = write(tmp_path / "0.tar.gz", {"0.jpg": b"x"})
    assert [sample.key for sample in read_samples(path)] == ["0"]


def test_metadata_that_are_no_json_are_the_samples_flaw(tmp_path: Path) -> None:
    path = write(tmp_path / "0.tar", {"0.jpg": b"x", "0.json": b"{", "1.json": b"[]"})
    assert [sample.flaw for sample in read_samples(path)] == ["bad_metadata", "bad_metadata"]


def test_members_that_are_too_large_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "MAX_MEMBER", 1000)
    path = write(tmp_path / "0.tar", {"0.jpg": b"x" * 5000, "1.jpg": b"y" * 1000})
    first, second = read_samples(path)
    assert (first.flaw, first.body) == ("too_large", None)
    assert second.body == b"y" * 1000


def test_a_tar_that_is_cut_short_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "0.tar", {f"{n}.jpg": b"x" * 2000 for n in range(3)})
    whole = Path(path).read_bytes()
    for length in (300, 1000, 2560, 2600):  # in a header, in a content, between two, in the next
        Path(path).write_bytes(whole[:length])
        with pytest.raises(OSError, match="truncated"):
            list(read_samples(path))


def test_an_invalid_tar_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    path.write_bytes(b"<html>" * 200)
    with pytest.raises(OSError, match="not a tar"):
        list(read_samples(str(path)))
    damaged = bytearray(Path(write(tmp_path / "1.tar", {"0.jpg": b"x"})).read_bytes())
    damaged[3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(OSError, match="damaged"):
        list(read_samples(str(path)))


def test_a_shard_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        list(read_samples(str(tmp_path / "0.tar")))
