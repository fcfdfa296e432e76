"""Files that the workers of one run on one machine share, whatever their distributor.

Those that they map lie in /dev/shm, or in the temporary folder of systems without one. All are
readable by their user alone, and are removed by the last worker that closes them, else by the next
run.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The byte of every file that is locked as long as any worker has the file open.
_IN_USE = 1 << 40


def make_run_token() -> str:
    """Return a name for a run's shared files that nobody can guess."""
    return secrets.token_hex(16)


class SharedFile:
    """A mapped file of zeros that all openers of one token and name share.

    Args:
        token: from `make_run_token`; None for memory that nobody shares.
        name: of this file among those of the run.

    Attributes:
        memory: the content.
        descriptor: of the file, for locks; None where nobody shares it: without a token, or where
            there is no place for files.
    """

    def __init__(self, token: str | None, name: str, size: int) -> None:
        self._path = None if token is None else _path(token, name)
        self.descriptor = None if self._path is None else _open(self._path, size)
        self.memory = mmap.mmap(-1 if self.descriptor is None else self.descriptor, size)
        if self.descriptor is not None:
            fcntl.lockf(self.descriptor, fcntl.LOCK_SH, 1, _IN_USE)

    def try_lock(self, place: int) -> bool:
        """Lock byte `place` for this process until it ends; return whether that worked."""
        if self.descriptor is None:
            return True
        return _try_lock(self.descriptor, place)

    def unlock(self, place: int) -> None:
        """Release byte `place`."""
        if self.descriptor is not None:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, place)

    def close(self) -> None:
        """Release the locks; the last one to close the file removes it.

        The memory stays usable in this process.
        """
        if self.descriptor is not None:
            if self._path is not None and self.try_lock(_IN_USE):
                self._path.unlink(missing_ok=True)
            os.close(self.descriptor)
            self.descriptor = None


@contextmanager
def run_files() -> Iterator[str]:
    """Give the token of a run's files, which are removed when the context ends, as stale ones are.

    For the parent of the workers.
    """
    token = make_run_token()
    remove_stale_files()
    try:
        yield token
    finally:
        remove_files(token)


def hold_disk_file(token: str, name: str) -> tuple[Path, int]:
    """Return the path of a run's file on disk, and a descriptor: while it is open, it is the run's.

    What is locked is a file beside it. A process that closes any descriptor of a file gives up all
    its locks on that file, and SQLite opens and closes it as it likes.

    Raises OSError.
    """
    path = Path(tempfile.gettempdir()) / f"{_prefix()}{token}-{name}"
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.lockf(descriptor, fcntl.LOCK_SH, 1, _IN_USE)
        with contextlib.suppress(FileNotFoundError):  # removed as stale before it was locked
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                break
        os.close(descriptor)
    held = path.with_name(f".{path.name}")
    with contextlib.suppress(FileExistsError):
        os.close(os.open(held, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    return held, descriptor


def _remove(path: Path) -> None:
    """Remove a run's file, and what is beside it."""
    for other in path.parent.glob(f".{path.name}*"):
        other.unlink(missing_ok=True)
    path.unlink()


def remove_files(token: str) -> None:
    """Remove the files of a run from this machine."""
    for path in _files(f"{token}-*"):
        with contextlib.suppress(OSError):
            _remove(path)


def remove_stale_files() -> None:
    """Remove files of runs whose processes on this machine have all ended."""
    for path in _files("*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if _try_lock(descriptor, _IN_USE):
                    _remove(path)
            finally:
                os.close(descriptor)


def _folder() -> Path:
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def _files(pattern: str) -> Iterator[Path]:
    for folder in {_folder(), Path(tempfile.gettempdir())}:
        yield from folder.glob(f"{_prefix()}{pattern}")


def _prefix() -> str:
    return f"img2ds-{os.getuid()}-"


def _path(token: str, name: str) -> Path:
    return _folder() / f"{_prefix()}{token}-{name}"


def _open(path: Path, size: int) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_size < size:
            # Memory that is not there later would end the process (SIGBUS).
            getattr(os, "posix_fallocate", _truncate)(descriptor, 0, size)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _truncate(descriptor: int, start: int, size: int) -> None:
    os.truncate(descriptor, start + size)


def _try_lock(descriptor: int, place: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except OSError:
        return False
    return True
