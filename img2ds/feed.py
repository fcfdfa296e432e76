"""Hands rows to slots: shard after shard without a gap, no host above its share, later tries last.

A row whose host is busy is parked with the host, not with a slot; so a list that holds
ten thousand URLs of one slow host keeps no other row waiting.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass
from itertools import count

import trio

from img2ds.shard import Shard


@dataclass(slots=True)
class Row:
    """One row of a shard on its way; `attempts` counts those that were made."""

    shard: Shard
    index: int
    host: str
    attempts: int = 0
    local_failures: int = 0


class Feed:
    """Rows in the order of their shards, within `per_host` rows a host at once (0: no limit)."""

    def __init__(self, per_host: int) -> None:
        self._per_host: float = per_host or math.inf
        self._shards: deque[Shard] = deque()
        self._next = 0  # the row of the first shard that is to be handed out next
        self._ready: deque[Row] = deque()
        self._later: list[tuple[float, int, Row]] = []
        self._order = count()
        self._active: dict[str, int] = {}
        self._parked: dict[str, deque[Row]] = {}
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
            elif self._shards:
                row = self._fresh()
            else:
                return None
            host = row.host
            active = self._active.get(host, 0)
            if active < self._per_host:
                self._active[host] = active + 1
                return row
            self._parked.setdefault(host, deque()).append(row)

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

    def _leave(self, row: Row) -> None:
        host = row.host
        active = self._active[host] - 1
        if active:
            self._active[host] = active
        else:
            del self._active[host]
        parked = self._parked.get(host)
        if parked:
            self._ready.append(parked.popleft())
            if not parked:
                del self._parked[host]
            self._lot.unpark()


def _host(url: str | None) -> str:
    """What stands for a host here: close enough to group by, and cheap."""
    parts = (url or "").split("/", 3)
    return parts[2] if len(parts) > 2 else ""
