"""The right to publish one shard, where two attempts at it may be alive.

A distributor over machines takes a worker for dead whose connection broke; it may live on. Whoever
holds the claim looks whether the shard is committed, and publishes only if not.
"""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from img2ds.core.failure import UsageError
from img2ds.storage.lock import NO_FLOCK, HeartbeatLock

#: Files that claims of a local folder are spread over: a commit takes a second at most, so that
#: a thousand workers seldom meet on one, and there is no file a shard.
FILES = 256
#: Seconds between two tries for a claim on a remote folder.
_PAUSE = 5.0


@contextmanager
def claimed(folder: str, local: bool, marker: str) -> Iterator[None]:
    """Hold the claim of the shard whose marker is `mark`; waits while another attempt holds it.

    Args:
        folder: an output folder, a path when it is `local`, else an fsspec URL.

    Raises:
        OSError: the folder cannot be reached.
    """
    if local:
        path = os.path.join(folder, "_img2ds", "claims", str(zlib.crc32(marker.encode()) % FILES))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if _flock(descriptor):
                yield
                return
        finally:
            os.close(descriptor)
    path = f"{folder}/_img2ds/claims/{marker}"
    with _wait_for(folder, path):
        yield


def _flock(descriptor: int) -> bool:
    """Lock the file; False where the file system cannot. The system frees it with its holder."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno in NO_FLOCK:
            return False
        raise
    return True


def _wait_for(folder: str, path: str) -> HeartbeatLock:
    while True:
        try:
            return HeartbeatLock(folder, path, force=False)
        except UsageError:  # held; one that is stale is taken over
            time.sleep(_PAUSE)
