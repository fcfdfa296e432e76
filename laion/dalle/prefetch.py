"""Runs an iterator ahead in a thread, by a bounded number of items."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")

#: Items that may wait: enough to bridge the reading of the next few thousand pairs.
AHEAD = 16


class Prefetcher(Generic[T]):
    """Iterates over `items`, which a thread produces. A context manager, which ends the thread."""

    def __init__(self, items: Iterator[T], ahead: int = AHEAD) -> None:
        self._items = items
        self._ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)

    def __enter__(self) -> Prefetcher[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._closed.set()
        while self._thread.is_alive():  # it may wait for room in the queue
            try:
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while True:
            item, error = self._ready.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    def _run(self) -> None:
        try:
            for item in self._items:
                self._ready.put((item, None))
                if self._closed.is_set():
                    return
            self._ready.put((None, None))
        except BaseException as error:  # raised in the thread that iterates
            self._ready.put((None, error))
