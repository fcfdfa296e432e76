"""Saves a worker's shards when the run stops and its event loop does not come back from a decoder.

Images are decoded in the loop's own thread when that seems cheap. A decoder that hangs there cannot
be stopped, and nothing else runs in the loop; but nothing of the shards changes either. So the loop
lends them to its stand-in, another thread, while it is in a decoder.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

#: Seconds that the loop has to be in the same decoder, after all time that it was given.
STUCK_AFTER = 2.0


class Lent:
    """A lock that the loop holds but while it renders an image: a context manager for that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._number = 0  # of the image
        self._inside = False

    def __enter__(self) -> None:
        self._number += 1
        self._inside = True
        self._lock.release()

    def __exit__(self, *_: object) -> None:
        self._lock.acquire()
        self._inside = False

    def take(self, ended: threading.Event) -> bool:
        """Wait until the loop is stuck, and keep it where it is. Blocks.

        Returns:
            False if it has ended meanwhile.
        """
        while True:
            number = self._number
            if ended.wait(STUCK_AFTER):
                return False
            if self._inside and self._number == number and self._lock.acquire(blocking=False):
                if self._number == number:
                    return True
                self._lock.release()


class StandIn:
    """A thread that takes the loop's place if that is stuck when the run stops.

    Args:
        lent: what the loop lends.
        grace_seconds: that rows in flight have.
        stopping: called at once when the run is to stop. Returns whether shards can be saved.
        save: saves all shards.
        leave: ends the process.
    """

    def __init__(
        self,
        lent: Lent,
        grace_seconds: float,
        stopping: Callable[[], bool],
        save: Callable[[], None],
        leave: Callable[[], None],
    ) -> None:
        self._lent, self._grace = lent, grace_seconds
        self._stopping, self._save, self._leave = stopping, save, leave
        self._ended = threading.Event()

    def watch(self, stop: threading.Event) -> None:
        """Start to wait for `stop`."""
        threading.Thread(target=self._run, args=(stop,), daemon=True).start()

    def close(self) -> None:
        """Note that the loop has come to its end."""
        self._ended.set()

    def _run(self, stop: threading.Event) -> None:
        stop.wait()
        if not self._stopping() or self._ended.wait(self._grace):
            return
        if self._lent.take(self._ended):
            try:
                self._save()
            finally:  # nothing can wake the loop any more
                self._leave()
