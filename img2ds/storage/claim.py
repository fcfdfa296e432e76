"""The claim of a shard: the right to publish it, if two attempts at it may be alive.

A distributor over machines gives up a worker whose connection broke, but the worker may live on. An
attempt that holds the claim publishes only if the shard is not committed yet.
"""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from img2ds.core.failure import UsageError
from img2ds.core.state import CLAIMS
from img2ds.storage.file_lock import NO_FLOCK
from img2ds.storage.heartbeat_lock import HeartbeatLock

#: Files that the claims of a local folder are spread over, instead of a file per shard. A commit
#: takes a second at most, so even a thousand workers rarely wait for each other.
FILES = 256
#: Seconds between two attempts to get a claim on a remote folder.
_PAUSE = 5.0


@contextmanager
def claimed(folder: str, local: bool, marker: str) -> Iterator[None]:
    """Hold the claim of a shard; wait while another attempt holds it.

    Args:
        folder: an output folder; a path if it is `local`, else an fsspec URL.
        marker: the name of the shard's commit marker.

    Raises:
        OSError: the folder cannot be reached.
    """
    if local:
        path = os.path.join(folder, CLAIMS, str(zlib.crc32(marker.encode()) % FILES))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o666)
        try:
            if _flock(descriptor):
                yield
                return
        finally:
            os.close(descriptor)
    with _wait_for_lock(folder, f"{folder}/{CLAIMS}/{marker}"):
        yield


def _flock(descriptor: int) -> bool:
    """Lock the file until its holder closes it or ends; False if the file system cannot lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno in NO_FLOCK:
            return False
        raise
    return True


def _wait_for_lock(folder: str, path: str) -> HeartbeatLock:
    while True:
        try:
            return HeartbeatLock(folder, path, force=False)
        except UsageError:  # another attempt holds it; a stale lock is taken over
            time.sleep(_PAUSE)
