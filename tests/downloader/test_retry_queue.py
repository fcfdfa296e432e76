"""The retry queue: each item at its time, on the virtual clock."""

from __future__ import annotations

import math

import pytest
import trio

from img2ds.downloader.retry_queue import RetryQueue
from tests.run_on_virtual_clock import run


def test_the_earliest_comes_first_and_not_before_its_time() -> None:
    async def main() -> None:
        queue: RetryQueue[str] = RetryQueue()
        assert queue.next_due == math.inf
        assert queue.pop_due() is None
        started = trio.current_time()
        queue.push("late", 30)
        queue.push("soon", 10)
        assert queue.next_due - started == pytest.approx(10)
        assert queue.pop_due() is None
        await trio.sleep_until(queue.next_due)
        assert queue.pop_due() == "soon"
        assert queue.pop_due() is None
        await trio.sleep_until(queue.next_due)
        assert queue.pop_due() == "late"
        assert queue.next_due == math.inf

    run(main)


def test_of_one_time_the_first_added_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items need not be comparable."""
    now = 100.0
    monkeypatch.setattr("trio.current_time", lambda: now)
    queue: RetryQueue[object] = RetryQueue()
    items = [object() for _ in range(20)]
    for item in items:
        queue.push(item, 5)
    now += 5
    assert [queue.pop_due() for _ in items] == items
