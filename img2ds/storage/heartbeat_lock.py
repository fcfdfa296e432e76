"""A lock on a folder of a storage service: an object that its holder keeps refreshing.

It is created exclusively if the service can do that, and taken over once it is stale.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.storage.filesystem import as_os_error, resolve
from img2ds.storage.folder_lock import FolderLock
from img2ds.storage.lock_holder import (
    describe_holder,
    holder_document,
    in_use,
    is_stale,
    read_holder,
)

#: Seconds between two heartbeats.
HEARTBEAT = 30.0


class HeartbeatLock(FolderLock):
    """A held lock object.

    If a service cannot create objects exclusively, two runs that start in the same instant may both
    believe that they hold it; the one whose object was overwritten notices at its next heartbeat.

    Raises:
        UsageError: another run holds it.
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
            if holder and not force and not is_stale(holder, now()):
                raise UsageError(in_use(folder, describe_holder(holder)))
            self._write()
            holder = self._read()
            if holder.get("token") != self._token:
                raise UsageError(in_use(folder, describe_holder(holder)))
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="folder-lock", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        return self._lost

    def refresh(self) -> None:
        """Send a heartbeat, and notice whether another run has taken over. Raises OSError."""
        with as_os_error("refresh the lock"):
            self._lost = self._read().get("token") != self._token
            if not self._lost:
                self._write()

    def release(self) -> None:
        self._end.set()
        self._thread.join()
        # A lock that cannot be removed becomes stale; the run need not fail.
        with contextlib.suppress(OSError), as_os_error("remove the lock"):
            if self._read().get("token") == self._token:
                self._fs.rm_file(self._path)

    def _beat(self) -> None:
        while not self._end.wait(HEARTBEAT) and not self._lost:
            # A service may be out of reach for a while: ten heartbeats may be missed.
            with contextlib.suppress(OSError):
                self.refresh()

    def _create(self) -> bool:
        self._fs.invalidate_cache()
        if self._fs.exists(self._path):
            return False
        try:
            self._fs.pipe_file(self._path, self._document(), mode="create")
        except FileExistsError:
            return False
        except (TypeError, ValueError, NotImplementedError):  # no exclusive creation
            self._write()
            return bool(self._read().get("token") == self._token)
        return True

    def _document(self) -> bytes:
        return holder_document(self._now(), token=self._token)

    def _write(self) -> None:
        self._fs.pipe_file(self._path, self._document())

    def _read(self) -> dict[str, Any]:
        try:
            return read_holder(self._fs.cat_file(self._path))
        except FileNotFoundError:
            return {}
