"""The rows that nobody has taken yet."""

from __future__ import annotations

from collections import deque

import trio

from img2ds.downloader.row import Row
from img2ds.downloader.shard import Shard


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
        self._count += shard.left

    def pop(self) -> Row | None:
        """Return the next row, None without one."""
        while self._shards:
            shard, index = self._shards[0], self._index
            self._index += 1
            if self._index == shard.count:
                self._shards.popleft()
                self._index = 0
            if shard.has_ended(index):  # in its partial shard
                continue
            self._count -= 1
            if self._count < self._low_water:
                self._low.set()
            return Row(shard, index, _host(shard.urls[index]))
        return None

    def clear(self) -> None:
        """Drop all rows."""
        self._shards.clear()
        self._count = 0
        self._low.set()

    async def wait_below(self, rows: int) -> None:
        """Sleep until fewer than `rows` rows are left."""
        if self._count >= rows:
            self._low_water = rows
            self._low = trio.Event()
            await self._low.wait()


def _host(url: str | None) -> str:
    """Return what rows are grouped by as their host: cheap, and close enough to it."""
    parts = (url or "").split("/", 3)
    return parts[2] if len(parts) > 2 else ""
