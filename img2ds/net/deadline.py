"""Time limits of an attempt at a URL, for waits on non-blocking sockets.

Each wait has its own deadline, so data that is already in the kernel always wins over a deadline
that passed while this process was busy decoding. Time that this process lost (a suspended machine,
a starved process, a wait for memory or for a slot) is given back.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import trio

from img2ds.core.failure import Failure, Reason
from img2ds.net.alarms import alarms
from img2ds.net.error import FetchError

T = TypeVar("T")

#: Seconds by which a deadline may be noticed late. A later notice means that this process was not
#: running, and the wait gets its time again.
TOLERATED_LATENESS = 1.0
#: Seconds of silence after which a server may be asked again.
EARLY = 2.0
#: Bytes a second. A body that is slower over a whole `timeout` is not worth its slot.
MIN_RATE = 100


class Deadline:
    """The two time limits of one attempt at a URL.

    Args:
        timeout: seconds that any single wait may last.
        max_time: seconds that the attempt may take in all.

    Attributes:
        alarms: what keeps the time.
        ends_at: when the attempt's time is used up, on trio's clock.
        gives_up: returns whether to give an attempt up after `EARLY` seconds of silence.
    """

    __slots__ = ("alarms", "ends_at", "gives_up", "timeout")

    def __init__(self, timeout: float, max_time: float) -> None:
        self.alarms = alarms()
        self.timeout = timeout
        self.ends_at = trio.current_time() + max_time
        self.gives_up: Callable[[], bool] | None = None

    def extend(self, seconds: float) -> None:
        """Give back time that this process lost."""
        self.ends_at += seconds

    async def wait(
        self,
        ready: Callable[[socket.socket], Awaitable[None]],
        sock: socket.socket,
        silence: Failure,
        timeout: float | None = None,
    ) -> None:
        """Wait until `sock` is ready.

        Args:
            silence: the failure when it never is.
            timeout: seconds to wait, in place of the attempt's `timeout`.

        Raises:
            FetchError: `silence` after `timeout` seconds, max_time when the attempt's time is up.
        """
        timeout = self.timeout if timeout is None else timeout
        impatient = self.gives_up is not None and silence.reason == Reason.STALLED
        early = EARLY if impatient else math.inf
        while True:
            now = trio.current_time()
            timeout_at = now + timeout
            deadline = min(timeout_at, self.ends_at, now + early)
            if await self.alarms.is_ready(ready, sock, deadline):
                return
            late = trio.current_time() - deadline
            if late > TOLERATED_LATENESS:
                self.extend(late + timeout)
                continue
            if deadline < min(timeout_at, self.ends_at):
                self._check_patience(silence)
                timeout -= early
                continue
            if self.ends_at < timeout_at:
                raise FetchError(Reason.MAX_TIME, "took longer than max_time")
            raise FetchError.of(silence)

    def _check_patience(self, silence: Failure) -> None:
        if self.gives_up is not None and self.gives_up():
            error = FetchError.of(replace(silence, message="lost on the way"))
            error.failure = replace(error.failure, shared=True)
            raise error

    async def within(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `work`, which has its own timeout and may be started again.

        It may extend this deadline, and is started again when it did.

        Raises:
            FetchError: max_time.
        """
        while True:
            with trio.CancelScope(deadline=self.ends_at):
                return await work()
            late = trio.current_time() - self.ends_at
            if late < 0:
                continue
            if late <= TOLERATED_LATENESS:
                raise FetchError(Reason.MAX_TIME, "took longer than max_time")
            self.extend(late + self.timeout)


class MinRateCheck:
    """Ends a transfer that trickles; time by which `deadline` was extended does not count."""

    __slots__ = ("_deadline", "_ends_at", "_started")

    def __init__(self, deadline: Deadline) -> None:
        self._started = trio.current_time()
        self._deadline = deadline
        self._ends_at = deadline.ends_at

    def check(self, received: int) -> None:
        """Check the rate after `received` bytes in all.

        Raises:
            FetchError: too_slow.
        """
        extended = self._deadline.ends_at - self._ends_at
        spent = trio.current_time() - self._started - extended
        if spent > self._deadline.timeout and received < spent * MIN_RATE:
            raise FetchError(Reason.TOO_SLOW, f"less than {MIN_RATE} bytes a second")
