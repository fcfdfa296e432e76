"""The lock of an output folder: one run at a time, or one for each rank.

A rank has a lock of its own. A run takes its lock first and looks for those of others then, so that
of two runs that exclude each other at least one sees the other. Local folders are locked by
`flock`, others, and file systems without it, by a heartbeat.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from img2ds.core.failure import UsageError
from img2ds.core.rank import ALONE, Rank
from img2ds.core.state import LOCK, RANKS, name_before
from img2ds.storage.file_lock import NO_FLOCK, FileLock
from img2ds.storage.filesystem import as_os_error, resolve
from img2ds.storage.folder_lock import FolderLock
from img2ds.storage.heartbeat_lock import HeartbeatLock
from img2ds.storage.lock_holder import describe_holder, in_use, is_stale, read_holder
from img2ds.storage.staging import ATTEMPTS, make_folder


def lock_folder(folder: str, local: bool, force: bool, rank: Rank = ALONE) -> FolderLock:
    """Lock a folder.

    Args:
        folder: a path if it is `local`, and then it exists; else an fsspec URL.
        force: take over the lock from its holder.
        rank: the run among those that share the folder.

    Raises:
        UsageError: another run holds it, or a run of another number of ranks; the message names
            that run.
    """
    before = f"{folder}/{name_before(LOCK)}"  # a run of an earlier version may be alive
    holder = _holder_of(before, local)
    if holder is not None and not force:
        raise UsageError(in_use(folder, holder))
    if holder is not None:
        _remove_lock(before, local)
    lock = _take(folder, local, force, rank)
    try:
        _check_others(folder, local, force, rank)
    except BaseException:
        lock.release()
        raise
    return lock


def _take(folder: str, local: bool, force: bool, rank: Rank) -> FolderLock:
    if rank.alone:
        path, what = f"{folder}/{LOCK}", folder
    else:
        path, what = f"{folder}/{RANKS}/{rank.name}", f"{folder} for {rank.words}"
    for attempt in reversed(range(ATTEMPTS if local else 0)):
        if not rank.alone:
            make_folder(os.path.dirname(path))
        try:
            return FileLock(folder, path, force, what, keep=rank.alone)
        except FileNotFoundError:  # another rank has ended, and removed what is empty
            if not attempt:
                raise
        except OSError as error:
            if error.errno not in NO_FLOCK:
                raise
            break
    return HeartbeatLock(what, path, force)


def _check_others(folder: str, local: bool, force: bool, rank: Rank) -> None:
    """Look for runs that exclude this one: all but those of the same number of ranks."""
    others: list[tuple[str, Rank]] = [] if rank.alone else [(LOCK, ALONE)]
    others += [
        (f"{RANKS}/{other.name}", other)
        for other in _ranks(folder, local)
        if other.world_size != rank.world_size
    ]
    for name, other in others:
        path = f"{folder}/{name}"
        holder = _holder_of(path, local)
        if holder is not None and not force:
            raise UsageError(in_use(folder, _named(other, holder)))
        if holder is not None or not other.alone:
            _remove_lock(path, local)


def _ranks(folder: str, local: bool) -> Iterator[Rank]:
    """Yield the ranks that have a lock; it may be that of a dead run. Raises OSError."""
    names: list[str] = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if local:
            names = os.listdir(f"{folder}/{RANKS}")
        else:
            fs, path = resolve(f"{folder}/{RANKS}")
            fs.invalidate_cache(path)
            with as_os_error("list the locks"):
                names = [place.rpartition("/")[2] for place in fs.ls(path, detail=False)]
    yield from sorted(
        (rank for name in names if (rank := Rank.of_name(name)) is not None),
        key=lambda rank: (rank.world_size, rank.number),
    )


def _named(rank: Rank, holder: str) -> str:
    return holder if rank.alone else f"{rank.words}, {holder}"


def lock_holder(folder: str, local: bool) -> str | None:
    """Describe the holder of a folder's lock; None if it is free. Never locks.

    Where ranks hold it, all of them are named.

    Raises:
        OSError: the lock cannot be read.
    """
    for name in (LOCK, name_before(LOCK)):
        holder = _holder_of(f"{folder}/{name}", local)
        if holder is not None:
            return holder
    found = [
        _named(rank, holder)
        for rank in _ranks(folder, local)
        if (holder := _holder_of(f"{folder}/{RANKS}/{rank.name}", local)) is not None
    ]
    return "; ".join(found) or None


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
