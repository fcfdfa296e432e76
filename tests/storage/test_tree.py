"""Folders of files, published as one: whole or not at all, here and on S3."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from img2ds.storage import OutputFolder, commit, tree
from tests.state import published
from tests.storage.conftest import Outage


def fill(folder: OutputFolder, name: str, files: dict[str, bytes]) -> Path:
    path = Path(folder.staging_path(name))
    path.mkdir()
    for leaf, data in files.items():
        (path / leaf).write_bytes(data)
    return path


def found(folder: OutputFolder, name: str) -> dict[str, bytes]:
    return {leaf: folder.read_bytes(f"{name}/{leaf}") for leaf in folder.inside(name) or []}


MANY = {f"{number:05d}.txt": b"%d" % number for number in range(tree.MAX_SINGLE_FLUSHES + 20)}
FEW = {"1.jpg": b"1", "2.jpg": b""}


@pytest.mark.parametrize("files", [FEW, MANY], ids=["few", "many"])
def test_a_folder_appears_when_it_is_published(
    folder: OutputFolder, files: dict[str, bytes]
) -> None:
    path = fill(folder, "00000", files)
    assert folder.inside("00000") is None
    folder.publish("00000")
    assert found(folder, "00000") == files
    assert published(folder) == ["00000"]
    assert not path.exists()


def test_an_empty_folder_can_be_published(folder: OutputFolder) -> None:
    fill(folder, "00000", {})
    folder.publish("00000")
    assert found(folder, "00000") == {}


def test_what_a_killed_attempt_left_is_replaced(folder: OutputFolder) -> None:
    fill(folder, "00000", {"1.jpg": b"9", "3.jpg": b"of another answer"})
    folder.publish("00000")
    path = fill(folder, "00000", FEW)
    folder.publish("00000")
    assert found(folder, "00000") == FEW
    assert not path.exists()
    if folder.local:
        assert not list((Path(folder.path) / ".img2ds" / "tmp").rglob("*.jpg"))


def test_what_is_inside(folder: OutputFolder) -> None:
    folder.write_bytes("a.json", b"{}")
    folder.write_bytes("b/c", b"{}")
    assert folder.inside("a.json") is None
    assert folder.inside("nothing") is None
    assert folder.inside("b") == ["c"]


def test_a_commit_that_fails_takes_a_folder_back(folder: OutputFolder) -> None:
    fill(folder, "00000", FEW)
    with pytest.raises(FileNotFoundError):
        commit(folder, ["00000", "never-written"], "0_stats.json", b"{}")
    assert published(folder) == []


def test_staging_on_another_file_system(tmp_path: Path) -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    staging_path = shared / tmp_path.name
    try:
        folder = OutputFolder.open(str(tmp_path / "out"), str(staging_path))
        with folder.lock():
            for files in (MANY, FEW):
                path = fill(folder, "00000", files)
                folder.publish("00000")
                assert found(folder, "00000") == files
                assert not path.exists()
        assert not list((tmp_path / "out" / ".img2ds" / "tmp").rglob("*.txt"))
        folder.close()
    finally:
        shutil.rmtree(staging_path, ignore_errors=True)


@pytest.mark.parametrize("files", [FEW, MANY], ids=["few", "many"])
def test_a_failed_flush_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    folder = OutputFolder.open(str(tmp_path / "out"))
    with folder.lock():
        fill(folder, "00000", files)

        class Full:
            @staticmethod
            def syncfs(fd: int) -> int:
                ctypes.set_errno(errno.ENOSPC)
                return -1

        def full(fd: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        if files is MANY:
            monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno: Full)
        else:
            monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            folder.publish("00000")
        monkeypatch.undo()
        assert not folder.exists("00000")


@pytest.mark.parametrize("answer", [None, errno.ENOSYS])
def test_every_file_is_flushed_where_the_file_system_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int | None
) -> None:
    """Other systems than Linux do not have it, and some file systems refuse it."""

    class Other:
        if answer is not None:

            @staticmethod
            def syncfs(fd: int) -> int:
                ctypes.set_errno(errno.ENOSYS)
                return -1

    flushed = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    for name, data in MANY.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno: Other)
    monkeypatch.setattr(os, "fsync", noted)
    tree.flush_tree(str(tmp_path))
    assert sorted(flushed) == [str(tmp_path), *(str(tmp_path / name) for name in MANY)]


def test_staging_files_of_dead_workers_are_removed(tmp_path: Path) -> None:
    """Files of running processes are kept."""
    folder = OutputFolder.open(str(tmp_path / "out"), str(tmp_path / "tmp"))
    with folder.lock():
        mine = fill(folder, "00001", FEW)
        code = (
            "import os, pickle, sys; folder = pickle.loads(sys.stdin.buffer.read());"
            "path = folder.staging_path('00002'); os.mkdir(path); open(path + '/1.jpg', 'w');"
            "os._exit(9)"
        )
        subprocess.run([sys.executable, "-c", code], input=pickle.dumps(folder), check=False)
        assert len(os.listdir(folder.staging.folder)) == 2
        folder.clean_dead_workers()
        assert os.listdir(folder.staging.folder) == [mine.name]
        assert len(os.listdir(mine)) == len(FEW)
    folder.close()


@pytest.mark.parametrize(("failures", "published"), [(1, True), (3, True), (4, False)])
def test_an_upload_resumes_where_it_failed(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pauses: None,
    failures: int, published: bool,
) -> None:  # fmt: skip
    folder = OutputFolder.open(f"{s3}/{tmp_path.name}", str(tmp_path / "staging"))
    fs, _ = folder._remote("")
    put, tries = fs.put, []

    def failing(sources: list[str], targets: list[str]) -> None:
        tries.append(len(sources))
        if len(tries) <= failures:
            put(sources[:10], targets[:10])
            raise Outage("Could not connect\nto the endpoint")
        put(sources, targets)

    monkeypatch.setattr(fs, "put", failing, raising=False)
    fill(folder, "00000", MANY)
    if published:
        folder.publish("00000")
        assert found(folder, "00000") == MANY
    else:
        with pytest.raises(OSError, match="cannot upload 00000: could not connect"):
            folder.publish("00000")
        assert folder.inside("00000") is None
    assert tries[:2] == [len(MANY), len(MANY) - 10]
    folder.close()


def test_an_upload_that_comes_to_less_is_none(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pauses: None
) -> None:
    folder = OutputFolder.open(f"{s3}/{tmp_path.name}", str(tmp_path / "staging"))
    fs, _ = folder._remote("")
    put = fs.put

    def losing(sources: list[str], targets: list[str]) -> None:
        for source in sources[:1]:
            Path(source).write_bytes(b"cut")
        put(sources, targets)

    monkeypatch.setattr(fs, "put", losing, raising=False)
    fill(folder, "00000", {"1.jpg": b"longer", "2.jpg": b"2"})
    with pytest.raises(OSError, match="1 of 2 files are incomplete"):
        folder.publish("00000")
    assert folder.names() == []
    folder.close()


def test_renaming_fails_for_another_reason(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(FileNotFoundError):
        tree.replace_tree(str(tmp_path / "source"), str(tmp_path / "no" / "x"), "unused")
