"""Slots and the overflow that waits to connect, on the virtual clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from img2ds.congestion.machine import Machine
from img2ds.congestion.path import NetworkPath
from img2ds.downloader.process import max_overflow
from img2ds.downloader.slots import LEND_SLOT_AFTER, Slot, Slots


class Work:
    """Rows of (seconds until the connection, seconds after it); when each was taken and started."""

    def __init__(self, count: int, *rows: tuple[float, float]) -> None:
        self.slots = Slots(count, self.take, self.work, NetworkPath(Machine()).requests)
        self.rows = deque(rows)
        self.taken: list[float] = []
        self.started: list[float] = []
        self.one_ended = trio.lowlevel.ParkingLot()
        self.ended = self.connecting = self.connected = self.most_connecting = 0

    async def take(self) -> tuple[float, float] | None:
        """Slots ask until the last row has ended, as for rows that might be tried again."""
        while not self.rows and self.ended < len(self.started):
            await self.one_ended.park()
        self.taken.append(trio.current_time())
        return self.rows.popleft() if self.rows else None

    async def work(self, row: tuple[float, float], slot: Slot) -> None:
        before, after = row
        self.started.append(trio.current_time())
        self.connecting += 1
        self.most_connecting = max(self.most_connecting, self.connecting)
        try:
            async with slot:
                await trio.sleep(before)
                self.connecting -= 1
                if after < 0:
                    raise ConnectionError
            self.connected += 1
            assert self.connected <= self.slots.count
            await trio.sleep(after)
            self.connected -= 1
        except ConnectionError:
            pass
        self.ended += 1
        self.one_ended.unpark_all()

    async def run(self) -> list[float]:
        """Return when each row was started, in seconds after the first."""
        await self.slots.run()
        slots = self.slots
        assert self.ended == len(self.started)
        assert (slots.held, slots.overflow, slots.connecting, slots._tasks) == (0, set(), {}, 0)
        return [started - self.started[0] for started in self.started]


def seconds(main: Callable[[], Awaitable[None]]) -> float:
    """Return how many virtual seconds `main` takes."""

    async def measured() -> float:
        began = trio.current_time()
        with trio.fail_after(1000):
            await main()
        return trio.current_time() - began

    return trio.run(measured, clock=MockClock(autojump_threshold=0))


def about(*seconds: float) -> Any:
    return pytest.approx(list(seconds), abs=0.2)


def test_a_row_without_a_connection_keeps_no_slot() -> None:
    async def main() -> None:
        work = Work(2, (10, -1), (0, 9), (0, 3), (0, 3))
        assert await work.run() == about(0, 0, LEND_SLOT_AFTER, LEND_SLOT_AFTER + 3)

    assert seconds(main) == pytest.approx(10, abs=0.2)


def test_a_connection_made_in_time_lends_no_slot() -> None:
    async def main() -> None:
        work = Work(2, (LEND_SLOT_AFTER - 0.1, 5), (0, 9), (0, 1))
        assert await work.run() == about(0, 0, LEND_SLOT_AFTER + 4.9)

    seconds(main)


def test_a_row_that_comes_back_waits_for_the_next_free_slot() -> None:
    """It has it before a row that is new, and there is never a request above the slots."""

    async def main() -> None:
        work = Work(2, (3, 10), (0, 5), (0, 5), (0, 1), (0, 1))
        # The first is connected at 3, and continues at 5 in the second's slot.
        assert await work.run() == about(
            0, 0, LEND_SLOT_AFTER, LEND_SLOT_AFTER + 5, LEND_SLOT_AFTER + 6
        )
        assert work.taken[:5] == work.started  # no row is taken before there is a slot for it

    assert seconds(main) == pytest.approx(15, abs=0.2)


def test_a_row_comes_back_while_slots_wait_for_rows() -> None:
    async def main() -> None:
        await Work(4, (5, 1), (0, 1)).run()

    assert seconds(main) == pytest.approx(6, abs=0.2)


def test_a_single_slot_is_never_lent() -> None:
    async def main() -> None:
        assert await Work(1, (10, 1), (0, 1)).run() == about(0, 11)

    seconds(main)


def test_only_so_many_rows_are_in_the_overflow() -> None:
    async def main() -> None:
        work = Work(4, *[(10.0, -1.0)] * 20)
        await work.run()
        assert work.most_connecting == 4 + max_overflow(4) == 6

    seconds(main)


@pytest.mark.parametrize("seed", range(5))
def test_every_row_is_served_once(seed: int) -> None:
    random = Random(seed)
    count = random.randint(1, 9)
    rows = [
        (random.choice((0, 0.1, 1, 2, 8)), random.choice((-1, 0, random.expovariate(1))))
        for _ in range(12 * count)
    ]

    async def main() -> None:
        assert len(await Work(count, *rows).run()) == len(rows)

    seconds(main)


def test_a_fault_ends_all() -> None:
    async def main() -> None:
        rows = iter(range(9))

        async def take() -> int:
            return next(rows)

        async def work(row: int, slot: Slot) -> None:
            async with slot:
                await trio.sleep(5)
            raise ZeroDivisionError

        await Slots(2, take, work, NetworkPath(Machine()).requests).run()

    with pytest.raises(Exception) as caught:  # noqa: PT011 - a group of groups of them
        seconds(main)
    error = caught.value
    while inner := getattr(error, "exceptions", ()):
        error = inner[0]
    assert isinstance(error, ZeroDivisionError)
