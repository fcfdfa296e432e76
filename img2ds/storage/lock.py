"""The lock of an output folder: one run at a time.

Local folders are locked by `flock`, others, and file systems without it, by a heartbeat.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from img2ds.core.failure import UsageError
from img2ds.core.state import LOCK, name_before
from img2ds.storage.file_lock import NO_FLOCK, FileLock
from img2ds.storage.filesystem import as_os_error, resolve
from img2ds.storage.folder_lock import FolderLock
from img2ds.storage.heartbeat_lock import HeartbeatLock
from img2ds.storage.lock_holder import describe_holder, in_use, is_stale, read_holder


def lock_folder(folder: str, local: bool, force: bool) -> FolderLock:
    """Lock a folder.

    Args:
        folder: a path if it is `local`, and then it exists; else an fsspec URL.
        force: take over the lock from its holder.

    Raises:
        UsageError: another run holds it; the message names that run.
    """
    before = f"{folder}/{name_before(LOCK)}"  # a run of an earlier version may be alive
    holder = _holder_of(before, local)
    if holder is not None and not force:
        raise UsageError(in_use(folder, holder))
    if holder is not None:
        _remove_lock(before, local)
    path = f"{folder}/{LOCK}"
    if local:
        try:
            return FileLock(folder, path, force)
        except OSError as error:
            if error.errno not in NO_FLOCK:
                raise
    return HeartbeatLock(folder, path, force)


def lock_holder(folder: str, local: bool) -> str | None:
    """Describe the holder of a folder's lock; None if it is free. Never locks.

    Raises:
        OSError: the lock cannot be read.
    """
    for name in (LOCK, name_before(LOCK)):
        holder = _holder_of(f"{folder}/{name}", local)
        if holder is not None:
            return holder
    return None


def _remove_lock(path: str, local: bool) -> None:
    """Remove a lock: its holder notices that it has lost the folder."""
    with contextlib.suppress(FileNotFoundError):
        if local:
            os.unlink(path)
        else:
            fs, path = resolve(path)
            fs.rm_file(path)


def _holder_of(path: str, local: bool) -> str | None:
    if local:
        return _file_lock_holder(path)
    fs, path = resolve(path)
    with as_os_error("read the lock"):
        try:
            holder = read_holder(fs.cat_file(path))
        except FileNotFoundError:
            return None
    return None if is_stale(holder, time.time()) else describe_holder(holder)


def _file_lock_holder(path: str) -> str | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        holder = read_holder(os.pread(fd, 4096, 0))
        if not holder:  # releasing the lock empties the file
            return None
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None  # its holder died
    except BlockingIOError:
        return describe_holder(holder)
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        return None if is_stale(holder, time.time()) else describe_holder(holder)
    finally:
        os.close(fd)
