"""Which hosts to look at for rows that may start: now, or at a time."""

from __future__ import annotations

import heapq
import math
from collections import deque
from itertools import count
from typing import Generic, Protocol, TypeVar

import trio


class Listed(Protocol):
    """What the agenda keeps with each host.

    Attributes:
        listed: whether it is to be looked at now.
        wakes_at: when it will be looked at again, on trio's clock.
    """

    listed: bool
    wakes_at: float


HostT = TypeVar("HostT", bound=Listed)


class Agenda(Generic[HostT]):
    """Hosts in the order in which they are looked at.

    Attributes:
        listed: those to look at now; not those whose time has just come.
        next_due: when the next host's time comes, on trio's clock; infinity without one.
    """

    def __init__(self) -> None:
        self.listed: deque[HostT] = deque()
        self.next_due = math.inf
        self._timers: list[tuple[float, int, HostT]] = []
        self._order = count()

    def add(self, host: HostT) -> None:
        """Look at a host now."""
        if not host.listed:
            host.listed = True
            self.listed.append(host)

    def add_later(self, host: HostT, delay: float) -> None:
        """Look at a host in `delay` seconds, unless that is planned for earlier."""
        due = trio.current_time() + delay
        if due < host.wakes_at:
            host.wakes_at = due
            heapq.heappush(self._timers, (due, next(self._order), host))
            self.next_due = self._timers[0][0]

    def list_due(self) -> None:
        """Add the hosts whose time has come."""
        now = trio.current_time()
        while self._timers and self._timers[0][0] <= now:
            due, _, host = heapq.heappop(self._timers)
            if due >= host.wakes_at:
                host.wakes_at = math.inf
                self.add(host)
        self.next_due = self._timers[0][0] if self._timers else math.inf

    def pop(self) -> HostT | None:
        """Return the next host to look at now, None without one."""
        if not self.listed:
            return None
        host = self.listed.popleft()
        host.listed = False
        return host
