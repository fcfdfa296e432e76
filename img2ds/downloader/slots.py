"""Slots: how many rows a worker has under way at once, and who waits for an answer beside them.

A row without a connection has no request in flight. Where getting one takes longer than a lost
packet explains, the row lends its slot to another one, and takes the next free one when it is
answered; else dead hosts would hold slots for as long as their time-outs last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, TypeVar

import trio

T = TypeVar("T")

#: Seconds that a row keeps its slot without a connection: a SYN that was lost is sent again after
#: one second (RFC 6298 2), and its answer needs time to come.
LEND_SLOT_AFTER = 1.5
#: Seconds after which it is looked again whether there is room beside the slots.
INTERVAL = 0.25


def most_beside(count: int) -> int:
    """Rows that may wait for a connection beside `count` slots; each may need a socket."""
    return count // 2


class Slot:
    """A row's right to be under way. As a context manager: while it waits for a connection."""

    __slots__ = ("_slots", "held", "since")

    def __init__(self, slots: Slots[T]) -> None:
        self._slots = slots
        self.held = False
        self.since = 0.0  # when it began to wait

    async def __aenter__(self) -> None:
        self.since = trio.current_time()
        self._slots.connecting[self] = None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._slots.answered(self) and error is None:
            await self._slots.enter(self)


class Slots(Generic[T]):
    """So many rows under way at once, and no more.

    Args:
        count: slots.
        take: the next row, None when there will be none; may wait.
        work: all that is done with a row, in a slot.
    """

    def __init__(
        self,
        count: int,
        take: Callable[[], Awaitable[T | None]],
        work: Callable[[T, Slot], Awaitable[None]],
    ) -> None:
        self.count = count
        self.connecting: dict[Slot, None] = {}  # in the order they began; none that is beside
        self.beside: set[Slot] = set()
        self.held = 0
        self._take = take
        self._work = work
        self._tasks = 0  # but for those beside
        self._next = trio.lowlevel.ParkingLot()  # for a slot that gets free

    async def run(self) -> None:
        """Until there are no more rows."""
        async with trio.open_nursery() as watching:
            async with trio.open_nursery() as nursery:
                watching.start_soon(self._watch, nursery)
                for _ in range(self.count):
                    self._start(nursery)
            watching.cancel_scope.cancel()

    def _start(self, nursery: trio.Nursery) -> None:
        self._tasks += 1
        nursery.start_soon(self._serve)

    async def _serve(self) -> None:
        slot = Slot(self)
        # There are too many for a while when rows come back from beside.
        while self._tasks <= self.count and (row := await self._take()) is not None:
            await self.enter(slot)
            await self._work(row, slot)
            self._exit(slot)
        self._tasks -= 1

    async def _watch(self, nursery: trio.Nursery) -> None:
        """Have slots lent whose rows wait for too long."""
        while True:
            oldest = next(iter(self.connecting), None)
            due = (oldest.since if oldest else trio.current_time()) + LEND_SLOT_AFTER
            if due > trio.current_time():
                await trio.sleep_until(due)
            elif len(self.beside) >= most_beside(self.count):
                await trio.sleep(INTERVAL)
            elif oldest is not None:
                self.lend(oldest)
                self._tasks -= 1
                if self._tasks < self.count:
                    self._start(nursery)

    def lend(self, slot: Slot) -> None:
        """The row of `slot` goes on waiting for its connection beside the slots."""
        del self.connecting[slot]
        self.beside.add(slot)
        self._exit(slot)

    def answered(self, slot: Slot) -> bool:
        """The row has its connection, or will have none: whether that was beside the slots."""
        if slot not in self.beside:
            del self.connecting[slot]
            return False
        self.beside.remove(slot)
        self._tasks += 1
        return True

    async def enter(self, slot: Slot) -> None:
        """Wait for a free slot, first come, first served."""
        if self.held < self.count:
            self.held += 1
        else:
            await self._next.park()  # whoever leaves hands over
        slot.held = True

    def _exit(self, slot: Slot) -> None:
        if slot.held:
            slot.held = False
            if self._next:
                self._next.unpark()
            else:
                self.held -= 1
