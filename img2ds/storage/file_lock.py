"""A lock on a local folder, by `flock`: the system releases it however its holder ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time

from img2ds.core.failure import UsageError
from img2ds.storage.folder_lock import FolderLock
from img2ds.storage.lock_holder import describe_holder, holder_document, in_use, read_holder
from img2ds.storage.staging import remove_work_folder

#: What `flock` fails with on file systems that cannot lock.
NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


class FileLock(FolderLock):
    """A held `flock` on a file that names its holder.

    Args:
        folder: the output folder.
        what: what is locked, for messages.
        keep: whether the file stays when the lock is released.

    Raises:
        UsageError: another run holds it.
        OSError: the file system cannot lock, see `NO_FLOCK`, or the file cannot be written.
    """

    def __init__(
        self, folder: str, path: str, force: bool, what: str = "", keep: bool = True
    ) -> None:
        self._folder = folder
        self._keep = keep
        self._path = path
        while True:
            # In a shared folder, somebody else may have put a link there.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(path, flags, 0o666)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = read_holder(os.pread(self._fd, 4096, 0))
                os.close(self._fd)
                if not force:
                    raise UsageError(in_use(what or folder, describe_holder(holder))) from None
                # The holder keeps its lock, on a file that has no name any more.
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
        os.pwrite(self._fd, holder_document(time.time()), 0)

    @property
    def lost(self) -> bool:
        try:
            return not os.path.samestat(os.fstat(self._fd), os.stat(self._path))
        except FileNotFoundError:
            return True

    def release(self) -> None:
        if self._fd >= 0:
            if not self.lost:
                os.ftruncate(self._fd, 0)
                if not self._keep:
                    os.unlink(self._path)
            os.close(self._fd)
            self._fd = -1
            if not self._keep:
                remove_work_folder(self._folder)
