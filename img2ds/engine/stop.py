"""Stopping a run early: by a signal, a second signal, a time limit, or a fatal error."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

_TIME_IS_OVER = "--max_runtime is over"


class StopNow(BaseException):
    """Drop the shards in flight. Not an Exception: nothing on the way may swallow it."""


class StopSwitch:
    """Says when no more shards are to be started; a context manager that handles signals.

    The first SIGINT or SIGTERM sets it, the second raises `StopNow` in the main thread while it is
    `armed`; later ones do nothing, so that they cannot disturb the tidying. In other threads
    Python delivers no signals.

    Args:
        max_runtime: seconds after which the switch is set, None for never.
    """

    def __init__(self, max_runtime: float | None = None) -> None:
        self.reason: str | None = None
        self.interrupted = False
        self.armed = True
        self._end = None if max_runtime is None else time.monotonic() + max_runtime
        self._before: dict[signal.Signals, Any] = {}

    def set(self, reason: str) -> None:
        """Have no more shards started. The first reason counts."""
        if self.reason is None:
            self.reason = reason

    def is_set(self) -> bool:
        """Return whether no more shards are to be started."""
        if self.reason is None and self._end is not None and time.monotonic() >= self._end:
            self.set(_TIME_IS_OVER)
        return self.reason is not None

    def ends_soon(self) -> bool:
        """Return whether the shards in flight are to end soon, too: whoever stops it waits."""
        return self.is_set() and (self.interrupted or self.reason == _TIME_IS_OVER)

    def __enter__(self) -> StopSwitch:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            if self.armed:
                self.armed = False
                raise StopNow
            return
        self.interrupted = True
        self.set(f"stopped by {signal.Signals(number).name}")
