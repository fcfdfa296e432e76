"""Hands rows to slots: shard after shard without a gap, no host above its share, later tries last.

A row whose host is busy is parked with the host, not with a slot; so a list that holds
ten thousand URLs of one slow host keeps no other row waiting. A host that has not answered yet
gets few rows at once; those parked with it share its silence, as if they had been out too.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from itertools import count

import trio

from img2ds.downloader.shard import Shard


@dataclass(slots=True)
class Row:
    """One row of a shard on its way; `attempts` counts those that were made."""

    shard: Shard
    index: int
    host: str
    attempts: int = 0
    local_failures: int = 0


#: Rows that share a host's first silence, where no limit a host says how many could be out.
MAX_SHARING = 64
#: Silent hosts remembered at most, about 200 bytes each, and for how many seconds.
MAX_SILENT, SILENT_FOR = 10_000, 60.0


@dataclass(slots=True)
class _Host:
    """A host with rows out, offered to slots, or parked."""

    limit: float
    active: int = 0
    offered: int = 0
    parked: deque[Row] = field(default_factory=deque)


class Scheduler:
    """Rows in the order of their shards, within limits of rows a host at once (0: no limit).

    Args:
        per_host: rows out to a host at once.
        unanswered: the same for a host that has answered none of them yet, as long as fewer than
            `waiting` rows are parked: rows that are parked keep shards open.
    """

    def __init__(self, per_host: int, unanswered: int = 0, waiting: int = 0) -> None:
        self._per_host: float = per_host or math.inf
        self._first_limit = min(unanswered or math.inf, self._per_host)
        self._shards: deque[Shard] = deque()
        self._next = 0  # the row of the first shard that is to be handed out next
        self._ready: deque[Row] = deque()
        self._later: list[tuple[float, int, Row]] = []
        self._order = count()
        self._waiting = waiting
        self._parked = 0
        self._hosts: dict[str, _Host] = {}
        self._silences: dict[str, tuple[int, float]] = {}  # how many in turn, and when
        self._lot = trio.lowlevel.ParkingLot()
        self._out = 0  # rows handed out or to be tried again
        self._closed = False
        self._unstarted = 0
        self._low_water = 0
        self._low = trio.Event()

    async def wait_below(self, rows: int) -> None:
        """Sleep until fewer than `rows` rows of the added shards are left to hand out."""
        if self._unstarted >= rows:
            self._low_water = rows
            self._low = trio.Event()
            await self._low.wait()

    def add(self, shard: Shard) -> None:
        """The next shard, with at least one row."""
        self._shards.append(shard)
        self._unstarted += shard.count
        self._lot.unpark_all()

    def close(self) -> None:
        """No further shard will come."""
        self._closed = True
        self._lot.unpark_all()

    async def next(self) -> Row | None:
        """The next row that may be tried; None when there will be none."""
        while True:
            row = self._take()
            if row is not None:
                return row
            if self._closed and not self._out and not self._shards:
                self._lot.unpark_all()
                return None
            if self._later:
                with trio.move_on_at(self._later[0][0]):
                    await self._lot.park()
            else:
                await self._lot.park()

    def _take(self) -> Row | None:
        while True:
            if self._later and self._later[0][0] <= trio.current_time():
                row = heapq.heappop(self._later)[2]
            elif self._ready:
                row = self._ready.popleft()
                self._hosts[row.host].offered -= 1
            elif self._shards:
                row = self._fresh()
            else:
                return None
            host = self._hosts.get(row.host)
            if host is None:
                host = self._hosts[row.host] = _Host(self._first_limit)
            limit = host.limit if self._parked < self._waiting else self._per_host
            if host.active < limit:
                host.active += 1
                return row
            host.parked.append(row)
            self._parked += 1

    def _fresh(self) -> Row:
        shard = self._shards[0]
        index = self._next
        self._next += 1
        if self._next == shard.count:
            self._shards.popleft()
            self._next = 0
        self._out += 1
        self._unstarted -= 1
        if self._unstarted < self._low_water:
            self._low.set()
        return Row(shard, index, _host(shard.urls[index]))

    def done(self, row: Row) -> None:
        """The row has ended."""
        self._out -= 1
        self._leave(row)
        if not self._out:
            self._lot.unpark_all()

    def again(self, row: Row, delay: float) -> None:
        """The row is to be tried again in `delay` seconds; it holds no slot until then."""
        heapq.heappush(self._later, (trio.current_time() + delay, next(self._order), row))
        self._leave(row)
        self._lot.unpark()  # whoever waits must learn of the new time

    def answered(self, row: Row) -> None:
        """The host of a row that is out has answered it, with whatever."""
        self._silences.pop(row.host, None)
        host = self._hosts[row.host]
        if host.limit < self._per_host:
            host.limit = self._per_host
            self._unpark(host)

    def silent(self, row: Row) -> list[Row]:
        """The host of a row that is out did not answer it: the parked rows that share this.

        They are out from now on. Only the last of the rows out to a host stands for others: at
        first for no more than could have been out beside it, then for twice as many with each
        further silence, so that a dead host with a million rows ends too.
        """
        host = self._hosts[row.host]
        host.limit = self._first_limit
        if host.active > 1:
            return []
        self._silences[row.host] = (self.silences(row) + 1, trio.current_time())
        if len(self._silences) > MAX_SILENT:
            del self._silences[next(iter(self._silences))]
        most = int(self._per_host if self._per_host < math.inf else MAX_SHARING)
        most <<= min(self.silences(row), 32) - 1
        sharing = [host.parked.popleft() for _ in range(min(len(host.parked), most - 1))]
        host.active += len(sharing)
        self._parked -= len(sharing)
        return sharing

    def silences(self, row: Row) -> int:
        """How often in turn the host of `row` has not answered, the last time not long ago."""
        count, when = self._silences.get(row.host, (0, 0.0))
        return count if trio.current_time() - when < SILENT_FOR else 0

    def _leave(self, row: Row) -> None:
        host = self._hosts[row.host]
        host.active -= 1
        self._unpark(host)
        if not host.active and not host.offered:
            del self._hosts[row.host]

    def _unpark(self, host: _Host) -> None:
        """Offer as many parked rows as the host may have out."""
        while host.parked and host.active + host.offered < host.limit:
            host.offered += 1
            self._parked -= 1
            self._ready.append(host.parked.popleft())
            self._lot.unpark()


def _host(url: str | None) -> str:
    """What stands for a host here: close enough to group by, and cheap."""
    parts = (url or "").split("/", 3)
    return parts[2] if len(parts) > 2 else ""
