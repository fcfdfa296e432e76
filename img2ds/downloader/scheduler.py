"""Hands rows to slots: shard after shard without a gap, no host above its limit, retries in time.

A row is in exactly one state, and each state has one holder:

    state     holder        what moves a row on
    --------  ------------  --------------------------------------------------------------------
    NEW       Backlog       `next` takes it:               ACTIVE, or WAITING if its host is full
    WAITING   HostLimits    `next`, when its host has room:           ACTIVE, or WAITING again
                            `record_timeout`, it shares a time-out:   ACTIVE, but in no slot
    ACTIVE    the caller    `retry`:                                  DELAYED
                            `end`:                                    ENDED
    DELAYED   RetryQueue    `next`, at its time:           ACTIVE, or WAITING if its host is full
    ENDED     its shard     -

An ended row has one of three ends: its sample was stored (`RowEnd.STORED`), it failed (a
`Failure`), or its shard was lost and will be rebuilt with all of its rows (`RowEnd.SHARD_LOST`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, IntEnum

import trio

from img2ds.downloader.hosts import HostLimits
from img2ds.downloader.retry_queue import RetryQueue
from img2ds.downloader.shard import Shard


class RowState(IntEnum):
    """Who holds a row: see the table above."""

    NEW = 0
    WAITING = 1
    ACTIVE = 2
    DELAYED = 3
    ENDED = 4


#: The states that may follow each state.
MOVES: dict[RowState, tuple[RowState, ...]] = {
    RowState.NEW: (RowState.ACTIVE, RowState.WAITING),
    RowState.WAITING: (RowState.ACTIVE, RowState.WAITING),
    RowState.ACTIVE: (RowState.ENDED, RowState.DELAYED),
    RowState.DELAYED: (RowState.ACTIVE, RowState.WAITING),
    RowState.ENDED: (),
}


class RowEnd(Enum):
    """How a row ended that did not fail."""

    STORED = "stored"
    SHARD_LOST = "shard lost"


@dataclass(slots=True)
class Row:
    """One row of a shard on its way.

    Attributes:
        attempts: attempts made, without those that failed for a local reason.
        local_failures: attempts that failed for a local reason, or one that all rows share.
        unclear_failures: attempts of which nobody can tell whose fault their failure was.
    """

    shard: Shard
    index: int
    host: str
    attempts: int = 0
    local_failures: int = 0
    unclear_failures: int = 0
    state: RowState = RowState.NEW

    def move_to(self, state: RowState) -> None:
        """Change the state, as `MOVES` allows it."""
        assert state in MOVES[self.state], f"row {self.index}: {self.state.name} to {state.name}"
        self.state = state


class Backlog:
    """The rows of the added shards that have not been taken yet, in order."""

    def __init__(self) -> None:
        self._shards: deque[Shard] = deque()
        self._index = 0  # of the first shard's next row
        self._count = 0
        self._low_water = 0
        self._low = trio.Event()

    def add(self, shard: Shard) -> None:
        """Add a shard, which has at least one row."""
        self._shards.append(shard)
        self._count += shard.count

    def pop(self) -> Row | None:
        """Return the next row, None without one."""
        if not self._shards:
            return None
        shard, index = self._shards[0], self._index
        self._index += 1
        if self._index == shard.count:
            self._shards.popleft()
            self._index = 0
        self._count -= 1
        if self._count < self._low_water:
            self._low.set()
        return Row(shard, index, _host(shard.urls[index]))

    async def wait_below(self, rows: int) -> None:
        """Sleep until fewer than `rows` rows are left."""
        if self._count >= rows:
            self._low_water = rows
            self._low = trio.Event()
            await self._low.wait()


class Scheduler:
    """The rows of all open shards. Slots call `next`, and then `retry` or `end` for each row."""

    def __init__(self, hosts: HostLimits[Row]) -> None:
        self._backlog = Backlog()
        self._hosts = hosts
        self._retries: RetryQueue[Row] = RetryQueue()
        self._takers = trio.lowlevel.ParkingLot()
        self._unended = 0
        self._closed = False

    def add(self, shard: Shard) -> None:
        """Add the next shard, which has at least one row."""
        self._backlog.add(shard)
        self._unended += shard.count
        self._takers.unpark_all()

    def close(self) -> None:
        """No further shard will be added."""
        self._closed = True
        self._takers.unpark_all()

    async def wait_below(self, rows: int) -> None:
        """Sleep until fewer than `rows` rows of the added shards are left in the backlog."""
        await self._backlog.wait_below(rows)

    async def next(self) -> Row | None:
        """Return the next row that may be tried, which is active now; None when all have ended."""
        while True:
            row = self._take()
            if row is not None:
                return row
            if self._closed and not self._unended:
                return None
            with trio.move_on_at(self._retries.next_due):
                await self._takers.park()

    def _take(self) -> Row | None:
        while True:
            row = self._retries.pop_due() or self._hosts.pop_ready() or self._backlog.pop()
            if row is None:
                return None
            if self._hosts.admit(row):
                row.move_to(RowState.ACTIVE)
                return row
            row.move_to(RowState.WAITING)

    def end(self, row: Row) -> None:
        """End an active row."""
        row.move_to(RowState.ENDED)
        self._unended -= 1
        if ready := self._hosts.leave(row):
            self._takers.unpark(count=ready)
        if not self._unended:
            self._takers.unpark_all()

    def retry(self, row: Row, delay: float) -> None:
        """Try an active row again in `delay` seconds; it holds no slot until then."""
        row.move_to(RowState.DELAYED)
        self._retries.push(row, delay)
        # Wake one more waiting slot, so that it learns of the new time.
        self._takers.unpark(count=self._hosts.leave(row) + 1)

    def record_response(self, row: Row) -> None:
        """Note that the host of an active row has responded, with whatever."""
        if ready := self._hosts.record_response(row):
            self._takers.unpark(count=ready)

    def record_timeout(self, row: Row) -> list[Row]:
        """Note that the host of an active row did not respond.

        Returns:
            Rows that share the time-out. They are active; `end` or `retry` them, too.
        """
        sharing = self._hosts.record_timeout(row)
        for other in sharing:
            other.move_to(RowState.ACTIVE)
        return sharing

    def timeouts(self, row: Row) -> int:
        """Return how often in a row the host of `row` has timed out lately."""
        return self._hosts.timeouts(row)


def _host(url: str | None) -> str:
    """Return what rows are grouped by as their host: cheap, and close enough to it."""
    parts = (url or "").split("/", 3)
    return parts[2] if len(parts) > 2 else ""
