"""One run at a time on an output folder.

Local folders: `flock`, which the system releases whatever way the holder ends. Elsewhere: a
small object made exclusively where the service can do so, refreshed by a thread, and taken
over once it is stale.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from img2ds.core.failure import UsageError
from img2ds.storage.filesystem import as_os_error, resolve

#: Seconds between two signs of life of a remote lock's holder.
HEARTBEAT = 30.0
#: Seconds without one after which the holder counts as dead: ten missed heartbeats.
STALE = 300.0

#: What `flock` says on file systems that cannot lock.
NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


class FolderLock(Protocol):
    """A held lock: a context manager that releases it. `lost` once another run took it over."""

    @property
    def lost(self) -> bool: ...

    def release(self) -> None: ...

    def __enter__(self) -> FolderLock: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def lock_folder(folder: str, local: bool, force: bool) -> FolderLock:
    """Lock `folder`, whose `_img2ds` exists when it is local.

    Args:
        folder: a path, or an fsspec URL.
        force: take it over from whoever holds it.

    Raises:
        UsageError: another run holds it; the line names that run.
    """
    path = f"{folder}/_img2ds/lock"
    if local:
        try:
            return FileLock(folder, path, force)
        except OSError as error:
            if error.errno not in NO_FLOCK:
                raise
    return HeartbeatLock(folder, path, force)


def lock_holder(folder: str, local: bool) -> str | None:
    """Who holds the lock of `folder` now, in words; None when nobody does. Takes nothing.

    Raises OSError.
    """
    path = f"{folder}/_img2ds/lock"
    if local:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            holder = _read_holder(os.pread(fd, 4096, 0))
            if not holder:  # whoever releases it empties it
                return None
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None  # its holder died
        except BlockingIOError:
            return _who(holder)
        except OSError as error:
            if error.errno not in NO_FLOCK:
                raise
            return _who(holder) if time.time() - float(holder.get("time", 0)) < STALE else None
        finally:
            os.close(fd)
    fs, path = resolve(path)
    with as_os_error("look at the lock"):
        try:
            holder = _read_holder(fs.cat_file(path))
        except FileNotFoundError:
            return None
    return _who(holder) if time.time() - float(holder.get("time", 0)) < STALE else None


class _Released:
    """What both locks share: they are context managers."""

    def release(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class FileLock(_Released):
    """`flock` on a file, which names its holder. The file stays; the lock does not."""

    def __init__(self, folder: str, path: str, force: bool) -> None:
        self._path = path
        while True:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _read_holder(os.pread(self._fd, 4096, 0))
                os.close(self._fd)
                if not force:
                    raise UsageError(_held(folder, holder)) from None
                # The holder keeps its lock on a file that has no name any more.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                continue
            except OSError:
                os.close(self._fd)
                raise
            if not self.lost:
                break
            os.close(self._fd)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(_holder(time.time())).encode(), 0)

    @property
    def lost(self) -> bool:
        """Whether the file has been replaced by another run's."""
        try:
            return not os.path.samestat(os.fstat(self._fd), os.stat(self._path))
        except FileNotFoundError:
            return True

    def release(self) -> None:
        if self._fd >= 0:
            if not self.lost:
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


class HeartbeatLock(_Released):
    """A lock object that its holder refreshes.

    Where a service cannot create exclusively, two runs that start within the same instant may
    both believe they hold it; the one that was overwritten learns so at its next heartbeat.
    """

    def __init__(
        self, folder: str, path: str, force: bool, now: Callable[[], float] = time.time
    ) -> None:
        self._fs, self._path = resolve(path)
        self._now = now
        self._token = uuid.uuid4().hex
        self._lost = False
        if not self._create():
            holder = self._read()
            if holder and not force and now() - float(holder.get("time", 0)) < STALE:
                raise UsageError(_held(folder, holder))
            self._write()
            seen = self._read()
            if seen.get("token") != self._token:
                raise UsageError(_held(folder, seen))
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="folder-lock", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Whether another run has taken the folder over."""
        return self._lost

    def refresh(self) -> None:
        """Say that this run is alive; learn whether another has taken over. Raises OSError."""
        with as_os_error("refresh the lock"):
            self._lost = self._read().get("token") != self._token
            if not self._lost:
                self._write()

    def release(self) -> None:
        self._end.set()
        self._thread.join()
        # A lock that cannot be removed gets stale; the run that ends here is none the worse.
        with contextlib.suppress(OSError), as_os_error("remove the lock"):
            if self._read().get("token") == self._token:
                self._fs.rm_file(self._path)

    def _beat(self) -> None:
        while not self._end.wait(HEARTBEAT) and not self._lost:
            # A service may be out of reach for a while: ten heartbeats may be missed.
            with contextlib.suppress(OSError):
                self.refresh()

    def _document(self) -> bytes:
        return json.dumps({**_holder(self._now()), "token": self._token}).encode()

    def _create(self) -> bool:
        self._fs.invalidate_cache()
        if self._fs.exists(self._path):
            return False
        try:
            self._fs.pipe_file(self._path, self._document(), mode="create")
        except FileExistsError:
            return False
        except (TypeError, ValueError, NotImplementedError):  # it knows no exclusive creation
            self._write()
            return bool(self._read().get("token") == self._token)
        return True

    def _write(self) -> None:
        self._fs.pipe_file(self._path, self._document())

    def _read(self) -> dict[str, Any]:
        try:
            return _read_holder(self._fs.cat_file(self._path))
        except FileNotFoundError:
            return {}


def _holder(now: float) -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "time": now}


def _read_holder(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _who(holder: dict[str, Any]) -> str:
    if "pid" not in holder:
        return "another run"
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(holder["time"])))
    return f"process {holder['pid']} on {holder['host']} (seen {started})"


def _held(folder: str, holder: dict[str, Any]) -> str:
    return (
        f"the output folder {folder} is in use by {_who(holder)}: wait for it, stop it, "
        "or take the folder over with --force"
    )
