"""Hands rows to slots: shard after shard without a gap, no host above its limit, retries in time.

A row is in exactly one state (see `row`), and each state has one holder:

    state     holder        what moves a row on
    --------  ------------  --------------------------------------------------------------------
    NEW       Backlog       `next` takes it:               ACTIVE, or WAITING if its host is full
    WAITING   Hosts         `next`, when its host has room, or when
                            it shares its host's silence:             ACTIVE
    ACTIVE    the caller    `record`, its host has a limit:           WAITING
                            `record_silence`, it will be asked again: WAITING
                            `retry`:                                  DELAYED
                            `end`:                                    ENDED
    DELAYED   RetryQueue    `next`, at its time:           ACTIVE, or WAITING if its host is full
    ENDED     its shard     -

Rows of a shard that is saved as a partial one (`withdraw`, `stop`) are dropped, in whatever state:
a later task makes them anew.

An ended row has one of three ends: its sample was stored (`RowEnd.STORED`), it failed (a
`Failure`), or its shard was lost and will be rebuilt with all of its rows (`RowEnd.SHARD_LOST`).
"""

from __future__ import annotations

import math

import trio

from img2ds.core.failure import Failure
from img2ds.downloader.backlog import Backlog
from img2ds.downloader.hosts import Hosts
from img2ds.downloader.retry_queue import RetryQueue
from img2ds.downloader.row import Row, RowState
from img2ds.downloader.shard import Shard
from img2ds.downloader.silence import Silent


class Scheduler:
    """The rows of all open shards. Slots call `next`, and then `retry` or `end` for each row.

    Attributes:
        stopped: whether no further row is handed out.
    """

    def __init__(self, hosts: Hosts[Row]) -> None:
        self._backlog = Backlog()
        self._hosts = hosts
        self._agenda = hosts.agenda
        self._retries: RetryQueue[Row] = RetryQueue()
        self._takers = trio.lowlevel.ParkingLot()
        self._timer: trio.CancelScope | None = None  # of the slot that waits for the next time
        self._timer_ends_at = math.inf
        self._unended = 0
        self._closed = False
        self.stopped = False

    def add(self, shard: Shard) -> None:
        """Add the next shard, which has at least one row."""
        self._backlog.add(shard)
        self._unended += shard.left
        self._takers.unpark_all()

    def withdraw(self, shard: Shard) -> bool:
        """Drop the rows that `shard` has left, if all of them wait. Returns whether they did."""
        held = sum(row.shard is shard for row in (*self._retries, *self._hosts.waiting))
        if held < shard.left:
            return False
        self._retries.withdraw(lambda row: row.shard is shard)
        self._hosts.withdraw(lambda row: row.shard is shard)
        self._unended -= held
        self._wake()
        return True

    def stop(self) -> None:
        """Hand out no further row: those that are active may end, the others are dropped."""
        self.stopped = True
        self._backlog.clear()
        self._takers.unpark_all()

    def close(self) -> None:
        """No further shard will be added."""
        self._closed = True
        self._takers.unpark_all()

    async def wait_below(self, rows: int) -> None:
        """Sleep until fewer than `rows` rows of the added shards are left in the backlog."""
        await self._backlog.wait_below(rows)

    async def next(self) -> Row | None:
        """Return the next row that may be tried, which is active now; None when there is none."""
        while not self.stopped:
            row = self._take()
            if row is not None:
                return row
            if self._closed and not self._unended:
                return None
            await self._wait()
        return None

    async def _wait(self) -> None:
        """Sleep until there may be a row. One of the slots that wait keeps the time for all."""
        if self._timer is not None:
            self._set_timer()
            await self._takers.park()
            return
        self._timer_ends_at = self._next_due()
        try:
            with trio.CancelScope(deadline=self._timer_ends_at) as self._timer:
                await self._takers.park()
        finally:
            self._timer = None
            self._takers.unpark()  # the next one keeps the time

    def _next_due(self) -> float:
        return min(self._retries.next_due, self._agenda.next_due)

    def _wake(self) -> None:
        """Wake a slot if there may be a row for it, and tell the others of the next time."""
        if not self._takers:
            return  # all slots are busy: whoever keeps the time is one of those that wait
        if self._agenda.listed:
            self._takers.unpark()
        self._set_timer()

    def _set_timer(self) -> None:
        """Tell the slot that keeps the time of a change: most of the time there is none."""
        if self._timer is not None and (due := self._next_due()) != self._timer_ends_at:
            self._timer.deadline = self._timer_ends_at = due

    def _take(self) -> Row | None:
        while True:
            row = self._hosts.take()
            if row is None:
                row = self._retries.pop_due() or self._backlog.pop()
                if row is None:
                    return None
                if not self._hosts.admit(row):
                    row.move_to(RowState.WAITING)
                    continue
            row.move_to(RowState.ACTIVE)
            self._wake()  # the host, or another one, may have room for one more
            return row

    def end(self, row: Row) -> None:
        """End an active row."""
        row.move_to(RowState.ENDED)
        self._unended -= 1
        self._hosts.leave(row)
        self._wake()
        if not self._unended:
            self._takers.unpark_all()

    def retry(self, row: Row, delay: float) -> None:
        """Try an active row again in `delay` seconds; it holds no slot until then."""
        row.move_to(RowState.DELAYED)
        self._retries.push(row, delay)
        self._hosts.leave(row)
        self._wake()

    def record_connection(self, row: Row) -> None:
        """Note that the host of an active row has accepted a connection."""
        self._hosts.record_connection(row)

    def record_response(self, row: Row) -> None:
        """Note that the host of an active row has responded, with whatever."""
        self._hosts.record_response(row)
        self._wake()

    def may_keep(self, row: Row) -> bool:
        """Return whether the connection of an active row may be kept for another one."""
        return self._hosts.may_keep(row)

    def record(self, row: Row, outcome: Failure | None) -> bool:
        """Note how an attempt at an active row ended, with None for an image.

        Returns:
            Whether the host refused the row for a limit: it waits again, and the caller is done
            with it. Else `end` or `retry` it.
        """
        waits = self._hosts.record(row, outcome)
        if waits:
            row.move_to(RowState.WAITING)
        self._wake()
        return waits

    def record_silence(self, row: Row, clear_for: float = math.inf) -> Silent:
        """Note that the host of an active row did not answer its connection attempt.

        Args:
            clear_for: see `Hosts.record_silence`.

        Returns:
            Whether the row waits again. Else `end` or `retry` it.
        """
        silent = self._hosts.record_silence(row, clear_for)
        if silent.waits:
            row.move_to(RowState.WAITING)
        self._wake()
        return silent

    def silences(self, row: Row) -> int:
        """Return how often in a row the host of `row` has not answered lately."""
        return self._hosts.silences(row)
