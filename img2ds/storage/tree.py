"""A local folder of many small files that is published as one: flushed, and renamed into place.

A shard of the `files` format has some 30 000; what is done for each of them counts.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil

#: Files up to which each is flushed by itself. Beyond, the whole file system is asked once: 3 000
#: waits for ext4's journal took 3.6 s, and this half a second for 30 000 files; but it also waits
#: for what others have written.
FEW = 100


def flush(path: str) -> None:
    """Wait until the file, or the names in the folder, at `path` are on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network file systems cannot flush a folder; their server does it by itself.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)


def flush_tree(path: str) -> None:
    """Wait until a folder and the files in it are on the disk. Raises OSError."""
    names = os.listdir(path)
    if len(names) > FEW and _flush_file_system(path):
        return
    for name in names:
        flush(os.path.join(path, name))
    flush(path)


def _flush_file_system(path: str) -> bool:
    """Flush all of the file system that `path` is on; False where that cannot be asked for.

    syncfs(2), which Python does not have. Since Linux 5.8 it tells of writes that failed.
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


def replace_tree(source: str, target: str, away: str) -> None:
    """Rename a folder, to where one of a killed attempt may lie. Raises OSError.

    Args:
        away: a place for that one on the same file system, where it is removed.
    """
    try:
        os.rename(source, target)
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    shutil.rmtree(away, ignore_errors=True)
    os.rename(target, away)
    os.rename(source, target)
    shutil.rmtree(away, ignore_errors=True)
