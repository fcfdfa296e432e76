"""Slots: how many rows a worker has in progress at once, and the overflow that waits to connect.

A row without a connection has no request in flight. Where connecting takes longer than one lost
packet explains, the row lends its slot to another row and waits on in the overflow. It takes the
next free slot when it is connected. Otherwise dead hosts would hold slots until they time out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, TypeVar

import trio

from img2ds.congestion.gate import Gate
from img2ds.downloader.process import max_overflow

T = TypeVar("T")

#: Seconds that a row keeps its slot without a connection: a SYN that was lost is sent again after
#: one second (RFC 6298 2), and its answer needs time to come.
LEND_SLOT_AFTER = 1.5
#: Seconds between two checks for room in a full overflow.
POLL_INTERVAL = 0.25


class Slot:
    """A row's right to be in progress. As a context manager it is entered while the row connects.

    Attributes:
        held: whether the row has a slot now; not while it is in the overflow.
        since: when the row started to connect, on trio's clock.
        waiting: a context manager for the time in which the row may not connect yet. It has no
            slot then, so that connected rows can have it, and no other row is started in its place.
    """

    __slots__ = ("_slots", "held", "since", "waiting")

    def __init__(self, slots: Slots[T]) -> None:
        self._slots = slots
        self.held = False
        self.since = 0.0
        self.waiting = _Waiting(slots, self)

    async def __aenter__(self) -> None:
        self.since = trio.current_time()
        self._slots.connecting[self] = None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._slots.stop_connecting(self) and error is None:
            await self._slots.enter(self, first=True)


class _Waiting:
    """See `Slot.waiting`."""

    __slots__ = ("_slot", "_slots")

    def __init__(self, slots: Slots[T], slot: Slot) -> None:
        self._slots, self._slot = slots, slot

    async def __aenter__(self) -> None:
        self._slots.give_up(self._slot)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self._slots.enter(self._slot, first=True)


class Slots(Generic[T]):
    """At most `count` rows in progress at once.

    Args:
        count: slots.
        take: returns the next row, None when there will be none; may wait.
        work: does all that is done with a row, in a slot.
        gate: of the slots of all workers of this machine; each slot in use has passed it.

    Attributes:
        connecting: slots whose rows wait to connect, in the order they started.
        overflow: slots that are lent: their rows wait to connect without them.
        held: slots in use.
    """

    def __init__(
        self,
        count: int,
        take: Callable[[], Awaitable[T | None]],
        work: Callable[[T, Slot], Awaitable[None]],
        gate: Gate,
    ) -> None:
        self.count = count
        self._gate = gate
        self.connecting: dict[Slot, None] = {}
        self.overflow: set[Slot] = set()
        self.held = 0
        self._take = take
        self._work = work
        self._tasks = 0  # without those in the overflow
        self._free = trio.lowlevel.ParkingLot()  # rows that wait for a free slot

    @property
    def waits(self) -> bool:
        """Whether rows wait for the gate: they are in progress soon."""
        return self._gate.waits

    async def run(self) -> None:
        """Work until there are no more rows."""
        async with trio.open_nursery() as lending:
            async with trio.open_nursery() as nursery:
                lending.start_soon(self._lend_late, nursery)
                for _ in range(self.count):
                    self._start(nursery)
            lending.cancel_scope.cancel()

    def _start(self, nursery: trio.Nursery) -> None:
        self._tasks += 1
        nursery.start_soon(self._serve)

    async def _serve(self) -> None:
        slot = Slot(self)
        # There are too many tasks for a while when rows come back from the overflow.
        while self._tasks <= self.count and (row := await self._take()) is not None:
            await self.enter(slot)
            await self._work(row, slot)
            self.give_up(slot)
        self._tasks -= 1

    async def _lend_late(self, nursery: trio.Nursery) -> None:
        """Lend the slots of rows that take long to connect."""
        while True:
            oldest = next(iter(self.connecting), None)
            lend_at = (oldest.since if oldest else trio.current_time()) + LEND_SLOT_AFTER
            if lend_at > trio.current_time():
                await trio.sleep_until(lend_at)
            elif len(self.overflow) >= max_overflow(self.count):
                await trio.sleep(POLL_INTERVAL)
            elif oldest is not None:
                self.lend(oldest)
                self._tasks -= 1
                if self._tasks < self.count:
                    self._start(nursery)

    def lend(self, slot: Slot) -> None:
        """Move the row of `slot` to the overflow."""
        del self.connecting[slot]
        self.overflow.add(slot)
        self.give_up(slot)

    def stop_connecting(self, slot: Slot) -> bool:
        """Note that the row of `slot` is connected, or failed to. Returns whether it was lent."""
        if slot not in self.overflow:
            del self.connecting[slot]
            return False
        self.overflow.remove(slot)
        self._tasks += 1
        return True

    async def enter(self, slot: Slot, *, first: bool = False) -> None:
        """Wait for a free slot, first come, first served.

        Args:
            first: go before rows of this worker that wait for others' slots: this one is connected.
        """
        if self.held < self.count:
            self.held += 1
        else:
            await self._free.park()  # `give_up` hands the slot over
        await self._gate.enter(first=first)
        slot.held = True

    def give_up(self, slot: Slot) -> None:
        """Free the slot that a row has, if it has one."""
        if slot.held:
            slot.held = False
            self._gate.leave()
            if self._free:
                self._free.unpark()
            else:
                self.held -= 1
