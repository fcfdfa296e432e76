"""Locks of local folders, with `flock` and without: who holds them, and who may take them over."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from img2ds.core.failure import UsageError
from img2ds.storage import lock_holder
from img2ds.storage.claim import claimed
from img2ds.storage.file_lock import FileLock
from img2ds.storage.heartbeat_lock import HeartbeatLock
from img2ds.storage.lock import lock_folder
from img2ds.storage.lock_holder import STALE, holder_document, read_holder

NOW = 1_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The lock of a local folder."""
    return tmp_path / ".img2ds-lock"


def failing_flock(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_flock_a_heartbeat_locks(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    failing_flock(monkeypatch, code)
    held = lock_folder(str(tmp_path), True, force=False)
    assert isinstance(held, HeartbeatLock)
    with pytest.raises(UsageError, match=f"in use by process {os.getpid()} on"):
        lock_folder(str(tmp_path), True, force=False)
    assert f"process {os.getpid()} on" in str(lock_holder(str(tmp_path), True))
    path.write_bytes(holder_document(0))
    assert lock_holder(str(tmp_path), True) is None
    held.release()
    with lock_folder(str(tmp_path), True, force=True):
        pass
    assert lock_holder(str(tmp_path), True) is None


def test_other_errors_of_flock_are_not_hidden(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(holder_document(NOW))
    failing_flock(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        lock_folder(str(tmp_path), True, force=False)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        lock_holder(str(tmp_path), True)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), claimed(str(tmp_path), True, "0"):
        pass


def test_without_flock_a_claim_is_an_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_flock(monkeypatch, errno.ENOLCK)
    claim = tmp_path / ".img2ds" / "claims" / "00000_stats.json"
    with claimed(str(tmp_path), True, claim.name):
        assert read_holder(claim.read_bytes())["pid"] == os.getpid()
    assert not claim.exists()


def test_a_file_lock_names_its_holder_until_it_is_released(path: Path, tmp_path: Path) -> None:
    assert lock_holder(str(tmp_path), True) is None
    with lock_folder(str(tmp_path), True, force=False) as held:
        assert isinstance(held, FileLock)
        assert f"process {os.getpid()} on" in str(lock_holder(str(tmp_path), True))
    assert path.read_bytes() == b""
    assert lock_holder(str(tmp_path), True) is None
    path.write_bytes(holder_document(NOW))  # as a holder that was killed leaves it
    assert lock_holder(str(tmp_path), True) is None


def test_a_file_that_is_replaced_while_it_is_locked(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run takes over by force between the opening of the file and its locking."""
    flock = fcntl.flock
    calls = []

    def slow_flock(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        calls.append(operation)
        if len(calls) == 1:
            path.unlink()

    monkeypatch.setattr(fcntl, "flock", slow_flock)
    with lock_folder(str(tmp_path), True, force=False) as held:
        assert not held.lost
        assert path.exists()


def test_a_holder_is_stale_from_the_limit_on(path: Path, tmp_path: Path) -> None:
    def lock(now: float) -> HeartbeatLock:
        return HeartbeatLock(str(tmp_path), str(path), False, lambda: now)

    path.write_bytes(holder_document(NOW))
    with pytest.raises(UsageError, match="in use"):
        lock(NOW + STALE - 0.001)
    held = lock(NOW + STALE)
    assert read_holder(path.read_bytes())["time"] == NOW + STALE
    held.release()
    assert not path.exists()


def test_a_remote_holder_is_named_until_it_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = "memory://out"
    lock = f"{folder}/.img2ds-lock"
    memory = MemoryFileSystem()
    assert lock_holder(folder, False) is None
    memory.pipe_file(lock, holder_document(NOW))
    for age, named in ((0.0, True), (STALE - 0.001, True), (STALE, False)):
        monkeypatch.setattr(time, "time", lambda age=age: NOW + age)
        assert (lock_holder(folder, False) is not None) == named
    memory.rm_file(lock)


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b"7"])
def test_what_names_no_holder_is_taken_over(path: Path, tmp_path: Path, document: bytes) -> None:
    path.write_bytes(document)
    assert lock_holder(str(tmp_path), True) is None
    with HeartbeatLock(str(tmp_path), str(path), False):
        assert read_holder(path.read_bytes())["pid"] == os.getpid()


def test_a_lost_lock_leaves_its_taker_alone(path: Path, tmp_path: Path) -> None:
    lost = HeartbeatLock(str(tmp_path), str(path), False)
    taker = HeartbeatLock(str(tmp_path), str(path), True)
    lost.refresh()
    taker.refresh()
    assert (lost.lost, taker.lost) == (True, False)
    lost.release()
    assert path.exists()
    taker.release()


def test_of_two_that_take_over_the_last_one_holds(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(holder_document(0))
    pipe_file = LocalFileSystem.pipe_file

    def overwritten(self: Any, where: str, value: bytes, **more: Any) -> None:
        pipe_file(self, where, value, **more)
        path.write_bytes(holder_document(NOW, token="another's"))

    monkeypatch.setattr(LocalFileSystem, "pipe_file", overwritten)
    with pytest.raises(UsageError, match="in use"):
        HeartbeatLock(str(tmp_path), str(path), False)


def test_of_two_that_create_the_first_one_holds(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(holder_document(time.time()))
    there = iter([False, True, True])  # it is created between the look and the creation
    monkeypatch.setattr(LocalFileSystem, "exists", lambda *_, **__: next(there))
    with pytest.raises(UsageError, match="in use"):
        HeartbeatLock(str(tmp_path), str(path), False)
