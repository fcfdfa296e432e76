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
    """Items by the time they are due, on trio's clock; of one time, the first added comes first.

    Attributes:
        next_due: when the next item is due; infinity without items.
    """

    def __init__(self) -> None:
        self.next_due = math.inf
        self._heap: list[tuple[float, int, T]] = []
        self._order = count()

    def push(self, item: T, delay: float) -> None:
        """Add an item that is due in `delay` seconds."""
        heapq.heappush(self._heap, (trio.current_time() + delay, next(self._order), item))
        self.next_due = self._heap[0][0]

    def pop_due(self) -> T | None:
        """Return the next item whose time has come, None without one."""
        if not self._heap or self.next_due > trio.current_time():
            return None
        item = heapq.heappop(self._heap)[2]
        self._set_next_due()
        return item

    def __iter__(self) -> Iterator[T]:
        """Iterate over the items, in no order."""
        return (item for _, _, item in self._heap)

    def withdraw(self, gone: Callable[[T], bool]) -> None:
        """Remove the items that are `gone`."""
        self._heap = [entry for entry in self._heap if not gone(entry[2])]
        heapq.heapify(self._heap)
        self._set_next_due()

    def _set_next_due(self) -> None:
        self.next_due = self._heap[0][0] if self._heap else math.inf
