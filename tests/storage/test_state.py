"""State of older folders: found wherever it is, moved once, and whole at every moment between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from img2ds.core.failure import UsageError
from img2ds.core.state import LOCK, MANIFEST, name_before, name_now, retry_file, state_file
from img2ds.engine.partial import partial_folder, partial_shards
from img2ds.storage import (
    FolderLock,
    OutputFolder,
    lock_holder,
    move_state,
    read_state,
    write_state,
)
from img2ds.storage.file_lock import FileLock
from img2ds.storage.heartbeat_lock import HeartbeatLock

NOTE = state_file("laion")
#: What a folder of version 0.1 may hold, and where it is today.
KEPT = {
    "_img2ds/retries/0001/00000.parquet": retry_file("0001", "00000"),
    "_img2ds/retries/0001/list.json": retry_file("0001"),
    "_img2ds/retries/0012/00003.parquet": retry_file("0012", "00003"),
    "_img2ds/laion.json": NOTE,
    "_img2ds/partial/0/00007.tar": ".img2ds/partial/0/00007.tar",
    "_img2ds/partial/0/00007_stats.json": ".img2ds/partial/0/00007_stats.json",
    "_img2ds/partial/1/00009/000090.jpg": ".img2ds/partial/1/00009/000090.jpg",
    "_img2ds/build/image.json": ".img2ds/build/image.json",
    "_img2ds/manifest.json": MANIFEST,
}
GONE = (
    "_img2ds/tmp/host-1-2-3/host-1-2-3-00001.tar", "_img2ds/claims/00001_stats.json",
    "_img2ds/lock", "_img2ds/probe-host-1-2-3",
)  # fmt: skip


class Killed(BaseException):
    """Stands for a signal that cannot be caught."""


@pytest.fixture
def older(location: tuple[str, str | None]) -> Iterator[OutputFolder]:
    """A locked folder of version 0.1."""
    folder = OutputFolder.open(*location)
    with folder.lock():
        for name in (*KEPT, *GONE):
            folder.write_bytes(name, b"" if name == "_img2ds/lock" else name.encode())
        yield folder
    folder.close()


def found(folder: OutputFolder) -> set[str]:
    """The former names of all that can be read."""
    return {
        data.decode()
        for name in KEPT.values()
        if (data := read_state(folder, name)) is not None
    }  # fmt: skip


def test_names_lead_back_and_forth() -> None:
    for before, now in KEPT.items():
        assert name_before(now) == before
        assert name_now(before.removeprefix("_img2ds/")) == now
    assert [name_now(name.removeprefix("_img2ds/")) for name in GONE] == [None] * len(GONE)
    assert name_now("notes.txt") is None
    assert name_before(LOCK) == "_img2ds/lock"


def test_an_older_folder_is_read_as_it_is_and_moved_by_the_first_write(
    older: OutputFolder,
) -> None:
    assert found(older) == set(KEPT)
    assert partial_shards(older) == {7}
    write_state(older, NOTE, b"newer")
    assert found(older) == {*KEPT, "newer"} - {"_img2ds/laion.json"}
    assert all(older.exists(name) for name in KEPT.values())
    assert "_img2ds" not in older.names()
    assert partial_shards(older) == {7}
    assert "00007.tar" in partial_folder(older, "0").names()
    move_state(older)  # there is nothing left to move
    assert len(found(older)) == len(KEPT)


@pytest.mark.parametrize("moves", range(len(KEPT)))
def test_a_kill_between_two_moves_loses_nothing(
    older: OutputFolder, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    module, name = (os, "rename") if older.local else (older._remote("")[0], "rm")
    real, left = getattr(module, name), moves

    def until_killed(*arguments: Any, **more: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:  # remote: between the copy and the removal of a file
            raise Killed
        return real(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, until_killed, raising=False)
        with pytest.raises(Killed):
            move_state(older)
    assert found(older) == set(KEPT)
    assert partial_shards(older) == {7}
    assert older.exists("_img2ds/manifest.json") or not older.exists(name_before(NOTE))
    move_state(older)
    assert found(older) == set(KEPT)
    assert "_img2ds" not in older.names()


def test_what_somebody_else_put_there_stays(older: OutputFolder) -> None:
    older.write_bytes("_img2ds/notes.txt", b"mine")
    move_state(older)
    assert older.read_bytes("_img2ds/notes.txt") == b"mine"
    assert found(older) == set(KEPT)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "manifest.json").write_text("{}")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_img2ds").symlink_to(theirs)
    move_state(OutputFolder.open(str(tmp_path / "out")))
    assert os.listdir(theirs) == ["manifest.json"]


def former_lock(folder: OutputFolder) -> FolderLock:
    """The lock that a run of version 0.1 holds."""
    path = f"{folder.path}/{name_before(LOCK)}"
    if folder.local:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return FileLock(folder.path, path, force=False)
    return HeartbeatLock(folder.path, path, force=False)


def test_a_run_of_an_earlier_version_holds_the_folder(location: tuple[str, str | None]) -> None:
    folder = OutputFolder.open(*location)
    held = former_lock(folder)
    with pytest.raises(UsageError, match=f"in use by process {os.getpid()} on"):
        folder.lock()
    assert f"process {os.getpid()} on" in str(lock_holder(folder.path, folder.local))
    with folder.lock(force=True):
        if isinstance(held, HeartbeatLock):
            held.refresh()
        assert held.lost
    held.release()
    folder.close()
    assert lock_holder(folder.path, folder.local) is None


def test_a_run_that_is_refused_leaves_nothing_unfinished(tmp_path: Path) -> None:
    first, second = (OutputFolder.open(str(tmp_path / "out")) for _ in range(2))
    with first.lock():
        with pytest.raises(UsageError, match="in use"):
            second.lock()
        first.close()
    assert os.listdir(tmp_path / "out") == [LOCK]


def test_a_folder_that_vanishes_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends removes the folder above while another one begins."""
    folder = OutputFolder.open(str(tmp_path / "out"))
    real, left = os.mkdir, 3

    def removed_meanwhile(path: str, *more: Any, **named: Any) -> None:
        nonlocal left
        if path.endswith("tmp") and left:
            left -= 1
            raise FileNotFoundError(path)
        real(path, *more, **named)

    monkeypatch.setattr(os, "mkdir", removed_meanwhile)
    with folder.lock():
        folder.write_bytes("a", b"1")
    assert left == 0
    folder.close()
