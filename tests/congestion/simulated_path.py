"""A path that drops SYNs, in simulated time, and a client that obeys a controller.

Rows connect, keep their connection for a while and close it. A SYN that is dropped is sent again
after 1, 2, 4 and 8 seconds, as Linux does.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

import numpy as np

from img2ds.congestion.machine import CELL
from img2ds.congestion.path_control import PathControl
from img2ds.congestion.signals import Signal

TICK, OVERDUE = 0.1, 0.3


@dataclass
class Path:
    """What drops SYNs.

    Args:
        entries: connections at once, None for any number.
        rate: SYNs a second, with a tenth of it at once.
        loss: share of SYNs that is lost whatever happens.
    """

    entries: int | None = None
    rate: float | None = None
    loss: float = 0.0
    used: int = 0
    _tokens: float = 0.0
    _then: float = 0.0
    _random: Random = field(default_factory=lambda: Random(4))

    def takes_syn(self, now: float) -> bool:
        if self._random.random() < self.loss:
            return False
        if self.rate is not None:
            most = max(self.rate / 10, 1.0)
            self._tokens = min(self._tokens + (now - self._then) * self.rate, most)
            self._then = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
        if self.entries is not None and self.used >= self.entries:
            return False
        self.used += 1
        return True


class Client:
    """Takes `rows` rows over a path, `most` at once, as many as the controller lets it."""

    def __init__(self, path: Path, rows: int, *, most: int = 512, dead: float = 0.0) -> None:
        self.path, self.left, self.most = path, rows, most
        self.control = PathControl(2.0 * most)
        self.totals = np.zeros(CELL)
        self.windows: list[float] = []
        self.ended: list[float] = []
        self._dead = dead
        self._random = Random(9)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._active = 0
        self._paced = 0.0

    def run(self, limit: float = 300.0) -> float:
        """Return the seconds until all rows have ended."""
        now = 0.0
        while self.left or self._active:
            self._at(now, self._start)
            while self._events and self._events[0][0] <= now:
                when, _, event = heapq.heappop(self._events)
                event(when)
            self.control.update(now, self.totals.copy())
            self.windows.append(self.control.window)
            now += TICK
            assert now < limit, "the rows take too long"
        return now

    def rate_between(self, begin: float, end: float) -> float:
        """Return how many rows ended a second."""
        return sum(begin <= when < end for when in self.ended) / (end - begin)

    def _at(self, when: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _start(self, now: float) -> None:
        totals, control = self.totals, self.control
        while self.left and self._active < self.most:
            if totals[Signal.OPEN] - totals[Signal.OVERDUE] >= control.window:
                return
            if self._paced > now + TICK:
                return
            self._paced = max(self._paced, now) + 1.0 / control.rate
            self.left -= 1
            self._active += 1
            totals[Signal.OPEN] += 1
            totals[Signal.CONNECTING] += 1
            self._syn(now, now, 1.0, control.epoch, self._random.random() < self._dead)

    def _syn(self, now: float, began: float, pause: float, epoch: int, dead: bool) -> None:
        if not dead and self.path.takes_syn(now):
            self._at(now + 0.03, lambda when: self._connected(when, began, epoch))
        elif now - began < 10.0:
            if now == began:
                self._at(now + OVERDUE, lambda when: self._overdue())
            self._at(now + pause, lambda when: self._syn(when, began, 2 * pause, epoch, dead))
        else:
            self._end(now, overdue=True)

    def _overdue(self) -> None:
        self.totals[Signal.OVERDUE] += 1
        self.totals[Signal.OVERDUE_CONNECTS] += 1

    def _connected(self, now: float, began: float, epoch: int) -> None:
        totals = self.totals
        totals[Signal.CONNECTING] -= 1
        totals[Signal.ESTABLISHED] += 1
        if now - began > 0.5:
            totals[Signal.OVERDUE] -= 1
            totals[Signal.ALL_RETRANSMITTED] += 1
            totals[Signal.RETRANSMITTED_CONNECTS] += epoch == self.control.epoch
        else:
            totals[Signal.CLEAN_CONNECTS] += 1
        self._at(now + self._random.uniform(0.05, 0.28), self._close)

    def _close(self, now: float) -> None:
        self.totals[Signal.OPEN] -= 1
        self.totals[Signal.ESTABLISHED] -= 1
        self._active -= 1
        self.ended.append(now)
        self._at(now + 0.03, lambda when: self._leave())
        self._start(now)

    def _leave(self) -> None:
        self.path.used -= 1

    def _end(self, now: float, *, overdue: bool) -> None:
        self.totals[Signal.OPEN] -= 1
        self.totals[Signal.CONNECTING] -= 1
        self.totals[Signal.OVERDUE] -= overdue
        self._active -= 1
        self.ended.append(now)
