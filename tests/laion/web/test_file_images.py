"""Images in a folder of files: found by the paths that rows have, and nothing else is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from img2ds.core.failure import UsageError
from laion.web.file_images import FileImages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images/cats").mkdir(parents=True)
    (tmp_path / "images/cats/a.jpg").write_bytes(b"a cat")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "images/link.jpg").symlink_to(tmp_path / "secret.jpg")
    return tmp_path / "images"


def test_images_are_found_where_the_folder_is_now(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = FileImages(str(folder))
    for name in (str(folder / "cats/a.jpg"), "cats/a.jpg", "/elsewhere/images/cats/a.jpg"):
        assert images.read(name) == b"a cat"
    monkeypatch.chdir(folder.parent)
    assert FileImages("images").read("images/cats/a.jpg") == b"a cat"
    assert images.read("cats/b.jpg") is None


@pytest.mark.parametrize(
    "name",
    ["../secret.jpg", "images/../../secret.jpg", "link.jpg", "cats", "", ".", "a\0b",
     "/etc/passwd", "images/../../../../../../../../etc/passwd"],
)  # fmt: skip
def test_nothing_outside_the_folder_is_read(folder: Path, name: str) -> None:
    assert FileImages(str(folder)).read(name) is None
    assert FileImages(str(folder)).read(str(folder.parent / "secret.jpg")) is None


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        FileImages(str(tmp_path / "no"))
