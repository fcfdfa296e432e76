"""Upload a staged file, or a folder of files, to a storage service."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from img2ds.storage.filesystem import as_os_error
from img2ds.storage.remote_listing import entry_version

#: Seconds before further attempts at a failed upload: a service that is down for a minute must not
#: end a run of a week.
UPLOAD_PAUSES = (1.0, 5.0, 20.0, 40.0)

T = TypeVar("T")


def upload(fs: Any, target: str, source: str, name: str) -> int:
    """Upload the local file or folder `source`, whole or not at all.

    Args:
        name: what is uploaded, for messages.

    Returns:
        The version of a file, as a listing tells it; 0 for a folder.

    Raises:
        OSError: all attempts failed, or one that cannot succeed.
    """
    if not os.path.isdir(source):
        size = os.path.getsize(source)
        return _with_retries(name, lambda: _upload_file(fs, source, target, size))
    folder = _FolderUpload(fs, source, target)
    try:
        _with_retries(name, folder.upload_missing)
    except OSError:
        with contextlib.suppress(OSError):  # the service may still be down
            remove_remote(fs, target)
        raise
    return 0


def _with_retries(name: str, attempt: Callable[[], T]) -> T:
    for pause in (*UPLOAD_PAUSES, None):
        try:
            with as_os_error(f"upload {name}"):
                return attempt()
        except PermissionError:
            raise
        except OSError:
            if pause is None:
                raise
        time.sleep(pause)
    raise AssertionError("unreachable")


def _upload_file(fs: Any, source: str, target: str, size: int) -> int:
    parent = target.rpartition("/")[0]
    fs.makedirs(parent, exist_ok=True)
    fs.put_file(source, target)
    fs.invalidate_cache(parent)
    stored = fs.info(target)
    if stored["size"] != size:
        fs.rm_file(target)
        raise OSError(
            errno.EIO, f"{target} has {stored['size']} bytes after the upload, expected {size}"
        )
    return entry_version(stored)


class _FolderUpload:
    """The upload of a folder: each attempt uploads what is missing."""

    def __init__(self, fs: Any, source: str, target: str) -> None:
        self._fs, self._source, self._target = fs, source, target
        self._sizes = {entry.name: entry.stat().st_size for entry in os.scandir(source)}
        self._begun = False

    def upload_missing(self) -> None:
        if not self._begun:
            # A killed attempt may have left other files, or other content of the same size.
            remove_remote(self._fs, self._target)
            self._begun = True
        missing = self._missing()
        if not missing:
            return
        self._fs.makedirs(self._target, exist_ok=True)
        # In one call, so that fsspec uploads many at once: one by one, 30,000 would take an hour.
        self._fs.put(
            [f"{self._source}/{name}" for name in missing],
            [f"{self._target}/{name}" for name in missing],
        )
        missing = self._missing()
        if missing:
            raise OSError(errno.EIO, f"{len(missing)} of {len(self._sizes)} files are incomplete")

    def _missing(self) -> list[str]:
        """Return the names of missing files, by one listing instead of a request per file."""
        self._fs.invalidate_cache(self._target)
        try:
            found = self._fs.ls(self._target, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            found = []
        there = {entry["name"].rpartition("/")[2]: entry["size"] for entry in found}
        return [name for name, size in self._sizes.items() if there.get(name) != size]


def remove_remote(fs: Any, target: str) -> None:
    """Remove a file, or a folder and its contents; do nothing if it does not exist.

    Raises OSError.
    """
    with contextlib.suppress(FileNotFoundError), as_os_error(f"remove {target}"):
        fs.rm(target, recursive=True)
