"""Uploads to a service: a file, or a folder of files, that was written aside."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from typing import Any

from img2ds.storage.filesystem import as_os_error

#: Seconds before an upload that failed is tried again: a service that is out of reach for a minute
#: must not end a run of a week.
UPLOAD_PAUSES = (1.0, 5.0, 20.0, 40.0)


def upload(fs: Any, target: str, source: str, name: str) -> None:
    """Upload the local file or folder `source`, whole or not at all; `name` is for people.

    Raises:
        OSError: it failed for good, or again and again.
    """
    if not os.path.isdir(source):
        size = os.path.getsize(source)
        _patiently(name, lambda: _upload_file(fs, source, target, size))
        return
    folder = _Folder(fs, source, target)
    try:
        _patiently(name, folder.go_on)
    except OSError:
        with contextlib.suppress(OSError):  # the service that failed may go on to
            remove_remote(fs, target)
        raise


def _patiently(name: str, attempt: Callable[[], None]) -> None:
    for pause in (*UPLOAD_PAUSES, None):
        try:
            with as_os_error(f"upload {name}"):
                attempt()
            return
        except PermissionError:
            raise
        except OSError:
            if pause is None:
                raise
        time.sleep(pause)


def _upload_file(fs: Any, source: str, target: str, size: int) -> None:
    parent = target.rpartition("/")[0]
    fs.makedirs(parent, exist_ok=True)
    fs.put_file(source, target)
    fs.invalidate_cache(parent)
    stored = fs.size(target)
    if stored != size:
        fs.rm_file(target)
        raise OSError(errno.EIO, f"upload of {target} came to {stored} bytes of {size}")


class _Folder:
    """A folder on its way: each attempt uploads what is missing."""

    def __init__(self, fs: Any, source: str, target: str) -> None:
        self._fs, self._source, self._target = fs, source, target
        self._sizes = {entry.name: entry.stat().st_size for entry in os.scandir(source)}
        self._begun = False

    def go_on(self) -> None:
        if not self._begun:
            # Of a killed attempt, which may have had other samples, or others of the same size.
            remove_remote(self._fs, self._target)
            self._begun = True
        missing = self._missing()
        if not missing:
            return
        self._fs.makedirs(self._target, exist_ok=True)
        # Where fsspec need not wait for one, many are on their way: 30 000 would take an hour.
        self._fs.put(
            [f"{self._source}/{name}" for name in missing],
            [f"{self._target}/{name}" for name in missing],
        )
        missing = self._missing()
        if missing:
            raise OSError(errno.EIO, f"{len(missing)} of {len(self._sizes)} files are not whole")

    def _missing(self) -> list[str]:
        """By one listing, which costs a thousandth of asking for each file."""
        self._fs.invalidate_cache(self._target)
        try:
            found = self._fs.ls(self._target, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            found = []
        there = {entry["name"].rpartition("/")[2]: entry["size"] for entry in found}
        return [name for name, size in self._sizes.items() if there.get(name) != size]


def remove_remote(fs: Any, target: str) -> None:
    """Remove a file, or a folder with all in it; if it is not there that is fine.

    Raises OSError.
    """
    with contextlib.suppress(FileNotFoundError), as_os_error(f"remove {target}"):
        fs.rm(target, recursive=True)
