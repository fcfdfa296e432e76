"""The cache folder of this user on this machine: files that can be rebuilt at any time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from img2ds.storage.filesystem import as_os_error, local_path, resolve
from img2ds.storage.input_stream import open_raw
from img2ds.storage.inputs import InputFile
from img2ds.storage.remote_listing import entry_version

#: The variable that names another folder.
VARIABLE = "IMG2DS_CACHE"
#: Seconds after which what nobody has used is removed.
KEPT = 30 * 86400.0


def cache_folder(name: str) -> Path:
    """Return the folder called `name` in the cache, which is there and is this user's.

    It is in `IMG2DS_CACHE`, else in the user's cache folder, else in the temporary one.

    Raises:
        OSError: none of them can be written to.
    """
    wanted = os.environ.get(VARIABLE)
    if wanted:
        return _made(Path(wanted) / name)
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    try:
        return _made(Path(home) / "img2ds" / name)
    except OSError:
        return _made(Path(tempfile.gettempdir()) / f"img2ds-cache-{os.getuid()}" / name)


def _made(folder: Path) -> Path:
    for place in (folder.parent, folder):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = os.lstat(folder)
    if status.st_uid != os.getuid():  # in a folder that all users write to
        raise PermissionError(f"{folder} is another user's")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written to")
    return folder


@contextmanager
def cache_lock(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock `name`: one process makes a file, the others wait for it."""
    descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def touch(path: Path) -> None:
    """Note that a file is in use."""
    with contextlib.suppress(OSError):
        os.utime(path)


def remove_unused(folder: Path) -> None:
    """Remove the files that nobody has used for `KEPT` seconds."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > KEPT:
                path.unlink()


def content_key(files: Sequence[InputFile]) -> str:
    """Return a name for the content of files: from their versions, or else from their bytes.

    Raises OSError.
    """
    digest = sha256()
    for file in files:
        local = local_path(file.path)
        version: int | str
        if local is not None:
            status = os.stat(local)
            version = f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
        else:
            with as_os_error(f"read {file.path}"):
                fs, path = resolve(file.path)
                version = entry_version(fs.info(path)) or _content(file.path)
        digest.update(f"{local or file.path}\n{file.size} {version}\n".encode())
    return digest.hexdigest()


def _content(path: str) -> str:
    digest = sha256()
    with open_raw(path) as stored:
        while data := stored.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()
