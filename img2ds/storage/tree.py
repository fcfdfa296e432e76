"""Flush a local folder of many small files, and rename it into place as one.

A shard of the `files` format has some 30,000 files, so the cost per file counts.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil

#: Largest number of files that are flushed one by one. For more, the whole file system is flushed:
#: 3,000 waits for ext4's journal took 3.6 s, one flush for 30,000 files half a second; but it also
#: waits for what others have written.
MAX_SINGLE_FLUSHES = 100


def flush(path: str) -> None:
    """Wait until the file, or the names in the folder, at `path` are on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network file systems cannot flush a folder; their server does it on its own.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)


def flush_tree(path: str) -> None:
    """Wait until a folder and the files in it are on the disk. Raises OSError."""
    names = os.listdir(path)
    if len(names) > MAX_SINGLE_FLUSHES and _flush_file_system(path):
        return
    for name in names:
        flush(os.path.join(path, name))
    flush(path)


def _flush_file_system(path: str) -> bool:
    """Flush the whole file system of `path`; return False if the system cannot do that.

    Calls syncfs(2), which Python does not wrap. Since Linux 5.8 it reports failed writes.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        return False
    fd = os.open(path, os.O_RDONLY)
    try:
        if syncfs(fd) == 0:
            return True
        number = ctypes.get_errno()
    finally:
        os.close(fd)
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number))


def replace_tree(source: str, target: str, old: str) -> None:
    """Rename a folder, replacing one that a killed attempt may have left. Raises OSError.

    Args:
        old: a path on the same file system where the replaced folder is moved and removed.
    """
    try:
        os.rename(source, target)
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    shutil.rmtree(old, ignore_errors=True)
    os.rename(target, old)
    os.rename(source, target)
    shutil.rmtree(old, ignore_errors=True)
