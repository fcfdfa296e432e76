"""Host limits: how many rows may be active at one host at once, and the rows that wait for a host.

A row that has to wait waits with its host, not in a slot, so that a list with ten thousand URLs of
one slow host delays no other row. A host that has not responded yet gets few rows at once. When it
times out, rows that wait for it share that result, as if they had been active, too.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import trio

#: Rows that share a host's first time-out where there is no limit of rows a host.
MAX_SHARING = 64
#: Unresponsive hosts remembered at most, about 200 bytes each, and for how many seconds.
MAX_UNRESPONSIVE, UNRESPONSIVE_FOR = 10_000, 60.0


class HasHost(Protocol):
    """What `HostLimits` knows of a row."""

    @property
    def host(self) -> str: ...


RowT = TypeVar("RowT", bound=HasHost)


@dataclass(slots=True)
class _Host(Generic[RowT]):
    """A host with rows.

    Attributes:
        limit: rows that may be active or ready.
        active: rows that were admitted and have not left.
        ready: rows that waited, and may be admitted now.
        waiting: rows without room.
    """

    limit: float
    active: int = 0
    ready: int = 0
    waiting: deque[RowT] = field(default_factory=deque)


class HostLimits(Generic[RowT]):
    """Admits rows within the limits of their hosts, and holds the others.

    Args:
        limit: rows active at a host at once; 0 for no limit.
        first_limit: the same for a host that has not responded yet; 0 for `limit`.
        max_waiting: rows in all that may wait because of `first_limit`: rows that wait keep their
            shards open. When more wait, only `limit` applies.
    """

    def __init__(self, limit: int, first_limit: int = 0, max_waiting: int = 0) -> None:
        self._limit: float = limit or math.inf
        self._first_limit = min(first_limit or math.inf, self._limit)
        self._max_waiting = max_waiting
        self._waiting = 0
        self._hosts: dict[str, _Host[RowT]] = {}
        self._ready: deque[RowT] = deque()
        #: Time-outs in a row, and when the last one was, by host.
        self._timeouts: dict[str, tuple[int, float]] = {}

    def admit(self, row: RowT) -> bool:
        """Make `row` active and return True; or keep it until its host has room."""
        host = self._hosts.get(row.host)
        if host is None:
            host = self._hosts[row.host] = _Host(self._first_limit)
        limit = host.limit if self._waiting < self._max_waiting else self._limit
        if host.active < limit:
            host.active += 1
            return True
        host.waiting.append(row)
        self._waiting += 1
        return False

    def pop_ready(self) -> RowT | None:
        """Return a row that waited and whose host has room now, for `admit`; None without one."""
        if not self._ready:
            return None
        row = self._ready.popleft()
        self._hosts[row.host].ready -= 1
        return row

    def leave(self, row: RowT) -> int:
        """Make an active row inactive. Returns how many rows became ready."""
        host = self._hosts[row.host]
        host.active -= 1
        count = self._make_ready(host)
        if not host.active and not host.ready:
            del self._hosts[row.host]
        return count

    def record_response(self, row: RowT) -> int:
        """Note that the host of an active row has responded. Returns how many rows became ready."""
        self._timeouts.pop(row.host, None)
        host = self._hosts[row.host]
        if host.limit < self._limit:
            host.limit = self._limit
            return self._make_ready(host)
        return 0

    def record_timeout(self, row: RowT) -> list[RowT]:
        """Note that the host of an active row did not respond.

        Only the last active row of a host speaks for others. At first it speaks for no more than
        could have been active with it, then for twice as many with each further time-out, so that
        a dead host with a million rows ends, too.

        Returns:
            The waiting rows that share the time-out; they are active from now on.
        """
        host = self._hosts[row.host]
        host.limit = self._first_limit
        if host.active > 1:
            return []
        timeouts = self.timeouts(row) + 1
        self._timeouts[row.host] = (timeouts, trio.current_time())
        if len(self._timeouts) > MAX_UNRESPONSIVE:
            del self._timeouts[next(iter(self._timeouts))]
        most = int(self._limit if self._limit < math.inf else MAX_SHARING)
        most <<= min(timeouts, 32) - 1
        sharing = [host.waiting.popleft() for _ in range(min(len(host.waiting), most - 1))]
        host.active += len(sharing)
        self._waiting -= len(sharing)
        return sharing

    def timeouts(self, row: RowT) -> int:
        """Return how often in a row the host of `row` has timed out, unless that was long ago."""
        count, when = self._timeouts.get(row.host, (0, 0.0))
        return count if trio.current_time() - when < UNRESPONSIVE_FOR else 0

    def _make_ready(self, host: _Host[RowT]) -> int:
        count = 0
        while host.waiting and host.active + host.ready < host.limit:
            host.ready += 1
            self._waiting -= 1
            self._ready.append(host.waiting.popleft())
            count += 1
        return count
