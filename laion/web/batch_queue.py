"""Work for many requests at once: threads that are free take all that waits as one batch.

Under load batches grow by themselves, and a request costs a share of one; alone, it does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

from laion.web.fair_queue import FairQueue

Item = TypeVar("Item")
Done = TypeVar("Done")

#: Weight of the last batch in the mean duration of an item.
_RECENT = 0.1

#: Seconds a client is told to wait, at most.
_MAX_RETRY_AFTER = 60


class Overloaded(Exception):
    """There is more work than can be done. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The size of a queue.

    Attributes:
        threads: batches at once.
        batch: items of a batch, at most.
        waiting: items that wait, at most; further ones are `Overloaded`.
    """

    threads: int = 1
    batch: int = 1
    waiting: int = 512


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item]):
    item: Item
    future: asyncio.Future[Any]


class BatchQueue(Generic[Item, Done]):
    """Items that wait for threads. `submit` may be called in any event loop.

    Args:
        name: of the threads.
        work: called in a thread with a batch; returns for each item its result, or the exception
            that is raised to its submitter.
    """

    def __init__(
        self, name: str, work: Callable[[list[Item]], Sequence[Done | Exception]],
        limits: BatchLimits,
    ) -> None:  # fmt: skip
        self._work = work
        self._limits = limits
        self._executor = ThreadPoolExecutor(limits.threads, name)
        self._lock = Lock()
        self._waiting: FairQueue[_Waiting[Item]] = FairQueue()
        self._running = 0
        self._seconds = 0.0  # an item takes, on average

    def __len__(self) -> int:
        """Items that wait."""
        return len(self._waiting)

    async def submit(self, item: Item, client: str = "") -> Done:
        """Wait for an item's result; clients take turns.

        Raises:
            Overloaded: too many items wait.
        """
        waiting = _Waiting(item, asyncio.get_running_loop().create_future())
        with self._lock:
            if len(self._waiting) >= self._limits.waiting:
                raise Overloaded("too many requests are waiting", self._retry_after())
            self._waiting.put(client, waiting)
            starts = self._running < self._limits.threads
            self._running += starts
        if starts:
            self._executor.submit(self._run)
        done: Done = await waiting.future
        return done

    def close(self) -> None:
        """Start no further batch. Items that wait get no result."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _retry_after(self) -> int:
        seconds = len(self._waiting) * self._seconds / self._limits.threads
        return min(max(math.ceil(seconds), 1), _MAX_RETRY_AFTER)

    def _run(self) -> None:
        """Do batches until nothing waits: a thread's work."""
        while True:
            with self._lock:
                taken = self._waiting.take(self._limits.batch)
                if not taken:
                    self._running -= 1
                    return
            # Nobody waits any more for what was cancelled.
            batch = [waiting for waiting in taken if not waiting.future.cancelled()]
            if not batch:
                continue
            results: Sequence[Done | Exception]
            started = time.monotonic()
            try:
                results = self._work([waiting.item for waiting in batch])
            except Exception as error:  # of the whole batch: its submitters get it
                results = [error] * len(batch)
            seconds = (time.monotonic() - started) / len(batch)
            self._seconds += _RECENT * (seconds - self._seconds)
            _deliver(batch, results)


def _deliver(batch: Sequence[_Waiting[Any]], results: Sequence[Any]) -> None:
    """Wake the submitters, those of one event loop at once."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for waiting, result in zip(batch, results, strict=True):
        loops.setdefault(waiting.future.get_loop(), []).append((waiting.future, result))
    for loop, settled in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has stopped
            loop.call_soon_threadsafe(_settle, settled)


def _settle(settled: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in settled:
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
