"""Rows to retry, each at its time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from itertools import count
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class RetryQueue(Generic[T]):
    """Items by the time they are due, on trio's clock; of one time, the first added comes first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._order = count()

    def push(self, item: T, delay: float) -> None:
        """Add an item that is due in `delay` seconds."""
        heapq.heappush(self._heap, (trio.current_time() + delay, next(self._order), item))

    def pop_due(self) -> T | None:
        """Return the next item whose time has come, None without one."""
        if self._heap and self._heap[0][0] <= trio.current_time():
            return heapq.heappop(self._heap)[2]
        return None

    def __iter__(self) -> Iterator[T]:
        """Iterate over the items, in no order."""
        return (item for _, _, item in self._heap)

    def withdraw(self, gone: Callable[[T], bool]) -> None:
        """Remove the items that are `gone`."""
        self._heap = [entry for entry in self._heap if not gone(entry[2])]
        heapq.heapify(self._heap)

    @property
    def next_due(self) -> float:
        """When the next item is due; infinity without items."""
        return self._heap[0][0] if self._heap else math.inf
