"""Waiting for non-blocking sockets, with time limits that blame nobody for our own delays.

Each wait has its own deadline, so that data which is in the kernel always wins over a deadline
that passed while this process was busy decoding.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from img2ds.core.failure import Reason
from img2ds.net.error import FetchError

T = TypeVar("T")

#: Seconds by which a deadline may be noticed late before the lateness is held to be our own (a
#: suspended machine, a starved process) and the wait is given its time again.
TOLERATED_LATENESS = 1.0
#: A body slower than this, in bytes a second, over a whole `timeout` is not worth its slot.
MIN_RATE = 100


class Deadline:
    """The time limits of one attempt at a URL: silence, and all in all.

    Times in seconds on trio's clock.
    """

    __slots__ = ("hard", "silence")

    def __init__(self, silence: float, max_time: float) -> None:
        self.silence = silence
        self.hard = trio.current_time() + max_time

    def extend(self, seconds: float) -> None:
        """Time that this process lost is not the server's."""
        self.hard += seconds

    async def wait(
        self,
        ready: Callable[[socket.socket], Awaitable[None]],
        sock: socket.socket,
        reason: Reason,
        message: str,
    ) -> None:
        """Wait until `sock` is ready.

        Raises:
            FetchError: `reason` after a silence, max_time when all of the time is used up.
        """
        while True:
            now = trio.current_time()
            silent_at = now + self.silence
            deadline = min(silent_at, self.hard)
            with trio.CancelScope(deadline=deadline) as scope:
                await ready(sock)
            if not scope.cancelled_caught:
                return
            late = trio.current_time() - deadline
            if late > TOLERATED_LATENESS:
                self.extend(late + self.silence)
                continue
            if self.hard < silent_at:
                raise FetchError(Reason.MAX_TIME, "took longer than max_time")
            raise FetchError(reason, message)

    async def within(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, which minds silence itself and may be begun again.

        Raises:
            FetchError: max_time.
        """
        while True:
            with trio.CancelScope(deadline=self.hard):
                return await work()
            late = trio.current_time() - self.hard
            if late <= TOLERATED_LATENESS:
                raise FetchError(Reason.MAX_TIME, "took longer than max_time")
            self.extend(late + self.silence)


class MinRateCheck:
    """Tells a trickle from a slow link; time that `due` was extended by does not count."""

    __slots__ = ("_began", "_due", "_hard")

    def __init__(self, due: Deadline) -> None:
        self._began = trio.current_time()
        self._due = due
        self._hard = due.hard

    def check(self, received: int) -> None:
        """Raises FetchError: too_slow."""
        spent = trio.current_time() - self._began - (self._due.hard - self._hard)
        if spent > self._due.silence and received < spent * MIN_RATE:
            raise FetchError(Reason.TOO_SLOW, f"less than {MIN_RATE} bytes a second")
