"""Gates: how many of one thing the workers of a machine may have in progress, and how many start.

A gate looks at the shared numbers and lets its worker go on while the sum over all workers is
below the limit. Two workers may pass at the same moment, so that a limit can be exceeded by a few;
nobody ever waits for a message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import trio

from img2ds.congestion.machine import Machine
from img2ds.congestion.signals import Signal

#: Seconds between two looks at the numbers of the other workers, while somebody waits.
POLL_INTERVAL = 0.02
#: Seconds' worth of a rate that may start at once.
BURST = 0.1


class Numbers(NamedTuple):
    """The shared numbers of a gate, by `Signal` and `Limit`.

    Attributes:
        gauge: how many are in progress.
        waiting: how many wait at the gate.
        most: the limit of `gauge`.
        less: how many of `gauge` take no room; None for none.
        rate: the limit of starts a second; None where there is none.
    """

    gauge: int
    waiting: int
    most: int
    less: int | None = None
    rate: int | None = None


class Gate:
    """Lets work start while there is room, first come, first served.

    Args:
        make_room: called when there is none; returns whether there is some now.
    """

    def __init__(
        self, machine: Machine, numbers: Numbers, make_room: Callable[[], bool] | None = None
    ) -> None:
        self._machine = machine
        self._gauge, self._waiting, self._most, self._less, self._rate = numbers
        self._make_room = make_room
        self._queue: deque[trio.Event] = deque()
        self._next_start = 0.0  # by the rate, on trio's clock
        self._polling = False
        self._admitting = False

    @property
    def waits(self) -> bool:
        """Whether anybody of this worker waits."""
        return bool(self._queue)

    def try_enter(self) -> bool:
        """Take room if there is some and nobody waits; call `leave` in the end."""
        if self._queue:
            return False
        limits = self._machine.limits  # most of the time there is none
        if limits[self._most] or (self._rate is not None and limits[self._rate]):
            return self._take()
        self._machine.cell[self._gauge] += 1
        return True

    async def enter(self, *, first: bool = False) -> None:
        """Wait for room and take it; call `leave` in the end.

        Args:
            first: go before those who wait already.
        """
        cell = self._machine.cell
        if not self.try_enter():
            turn = trio.Event()
            (self._queue.appendleft if first else self._queue.append)(turn)
            cell[self._waiting] += 1
            if not self._polling:
                self._polling = True
                trio.lowlevel.spawn_system_task(self._poll)
            try:
                await turn.wait()
            except BaseException:
                if turn.is_set():
                    self.leave()
                else:
                    self._queue.remove(turn)
                raise
            finally:
                cell[self._waiting] -= 1

    def leave(self) -> None:
        """Give the room back."""
        self._machine.cell[self._gauge] -= 1
        if self._queue:
            self._admit()

    async def _poll(self) -> None:
        """Look at the numbers of the other workers as long as somebody waits."""
        while self._queue:
            await trio.sleep(POLL_INTERVAL)
            self._admit()
        self._polling = False

    def _admit(self) -> None:
        if self._admitting:
            return  # making room calls `leave`
        self._admitting = True
        try:
            while self._queue and self._take():
                self._queue.popleft().set()
        finally:
            self._admitting = False

    def taken(self) -> float:
        """Return how many take room now, on the whole machine."""
        taken = self._machine.total(self._gauge)
        return taken if self._less is None else taken - self._machine.total(self._less)

    def _take(self) -> bool:
        """Take room for one, if there is any now."""
        machine = self._machine
        limits = machine.limits
        rate = limits[self._rate] if self._rate is not None else 0.0
        now = trio.current_time() if rate else 0.0
        if rate and self._next_start > now + BURST:
            return False
        most = limits[self._most]
        if most and self.taken() >= most and (self._make_room is None or not self._make_room()):
            return False
        if rate:
            share = rate / max(machine.count_active(Signal.REQUESTS), 1)
            self._next_start = max(self._next_start, now) + 1.0 / share
        machine.cell[self._gauge] += 1
        return True
