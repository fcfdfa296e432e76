"""How a run ends early: by a signal, a second signal, a time limit, or something fatal."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any


class StopNow(BaseException):
    """Drop the shards in flight. Not an Exception: nothing on the way may swallow it."""


class StopSwitch:
    """Says when no further shard is to be started; a context manager that minds signals.

    The first SIGINT or SIGTERM sets it, the second raises `StopNow` in the main thread, as long
    as `armed`; later ones do nothing, since what is to be done by then is tidying. In other
    threads Python knows no signals and none are minded.

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
        """Start no more shards. The first reason counts."""
        if self.reason is None:
            self.reason = reason

    def is_set(self) -> bool:
        if self.reason is None and self._end is not None and time.monotonic() >= self._end:
            self.set("--max_runtime is over")
        return self.reason is not None

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
