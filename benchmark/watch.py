"""CPU time of processes while they run, read from /proc; things looked at again and again."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

_TICK = os.sysconf("SC_CLK_TCK")


def processes(name: str) -> list[int]:
    """The living processes of this world that are called `name`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "comm").read_text().strip() == name:
                found.append(int(folder.name))
    return found


def cpu_seconds(name: str) -> float:
    """User and system time so far of the living processes of this world that are called `name`."""
    total = 0.0
    for pid in processes(name):
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / _TICK
    return total


class Watch(Generic[T]):
    """Looks every `interval` seconds, from a thread, as long as the context lasts.

    Attributes:
        seen: (monotonic seconds, what was seen).
    """

    def __init__(self, look: Callable[[], T], interval: float) -> None:
        self.seen: list[tuple[float, T]] = []
        self._look = look
        self._interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch[T]:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            self.seen.append((time.monotonic(), self._look()))
