"""Name servers with limits and a list of names, in a simulation of discrete events.

No clock, no sockets: `Run` asks names through a `DnsControl` as the resolver does.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

import numpy as np

from img2ds.congestion.dns_control import DnsControl
from img2ds.congestion.machine import CELL
from img2ds.congestion.signals import Signal

ROUND_TRIP = 0.03
#: Seconds between two updates, as the leader makes them.
INTERVAL = 0.1
#: Names that are asked for at once, as rows in progress do.
ROWS = 512


@dataclass
class Server:
    """What a name server does.

    Args:
        rate: questions a second that it answers.
        at_once: names that it works on at once.
        seconds: that a name takes, log-uniform between two values.
        beyond: what further questions get: "failed" or "silent".
        loss: share of questions that is lost.
        dead: names that fail, as `dead_how` says.
        out: seconds from the start in which nothing is answered.
    """

    rate: float = float("inf")
    at_once: float = float("inf")
    seconds: tuple[float, float] = (ROUND_TRIP, ROUND_TRIP)
    beyond: str = "failed"
    loss: float = 0.0
    dead: frozenset[int] = frozenset()
    dead_how: str = "failed"
    out: float = 0.0
    _tokens: float = 1.0
    _last: float = 0.0
    _working: list[float] = field(default_factory=list)
    _random: Random = field(default_factory=lambda: Random(14))

    def ask(self, now: float, name: int) -> tuple[str, float]:
        """Return what a question gets, and after how long."""
        if self._random.random() < self.loss:
            return "silent", 0.0
        if now < self.out or not self._takes(now):
            return self.beyond, ROUND_TRIP
        if name in self.dead:
            return self.dead_how, 3 * ROUND_TRIP
        low, high = self.seconds
        seconds = low * (high / low) ** self._random.random()
        heapq.heappush(self._working, now + seconds)
        return "answered", seconds

    def _takes(self, now: float) -> bool:
        while self._working and self._working[0] <= now:
            heapq.heappop(self._working)
        if len(self._working) >= self.at_once:
            return False
        if self.rate == float("inf"):
            return True
        most = max(1.0, self.rate / 10)
        self._tokens = min(most, self._tokens + (now - self._last) * self.rate)
        self._last = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Run:
    """Asks for `names` names until all are settled; dead ones after three questions.

    Attributes:
        control: the controller under test.
        asked: questions.
        answered_at: the time of each answer.
        rates: the limit at each update.
    """

    def __init__(self, server: Server, names: int, time_limit: float = 1.0) -> None:
        self.control = DnsControl()
        self.asked = 0
        self.answered_at: list[float] = []
        self.rates: list[float] = []
        self._server, self._time_limit = server, time_limit
        self._new = deque(range(names))
        self._queue: deque[int] = deque()
        self._failures = [0] * names
        self._left = names
        self._active = 0
        self._totals = np.zeros(CELL)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._now = self._next_start = 0.0

    def run(self, most: float = 600.0) -> float:
        """Return the seconds that it took."""
        self._tick()
        while self._left and self._now < most:
            self._now, _, event = heapq.heappop(self._events)
            event()
        return self._now

    def _later(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._now + seconds, next(self._numbers), event))

    def _tick(self) -> None:
        self.control.update(self._now, self._totals)
        self.rates.append(self.control.rate)
        self._start()
        self._later(INTERVAL, self._tick)

    def _start(self) -> None:
        while self._new and self._active < ROWS:
            self._active += 1
            self._queue.append(self._new.popleft())
        control = self.control
        while self._queue and self._totals[Signal.DNS_IN_FLIGHT] < control.window:
            if control.rate:
                if self._next_start > self._now + 0.1:
                    return
                self._next_start = max(self._next_start, self._now) + 1 / control.rate
            self._ask(self._queue.popleft())

    def _ask(self, name: int) -> None:
        self.asked += 1
        self._totals[Signal.DNS_IN_FLIGHT] += 1
        what, seconds = self._server.ask(self._now, name)
        if what == "silent" or seconds > self._time_limit:
            what, seconds = "silent", self._time_limit
        self._later(seconds, lambda: self._decide(name, what, seconds))

    def _decide(self, name: int, what: str, seconds: float) -> None:
        self._totals[Signal.DNS_IN_FLIGHT] -= 1
        if what == "answered":
            self._totals[Signal.DNS_ANSWERED] += 1
            self._totals[Signal.DNS_SECONDS] += seconds
            self.answered_at.append(self._now)
            self._settle()
        else:
            failed = what == "failed"
            self._totals[Signal.DNS_FAILED if failed else Signal.DNS_TIMEOUTS] += 1
            self._failures[name] += 1
            if name in self._server.dead and self._failures[name] >= 3:
                self._settle()
            else:
                pause = min(0.25 * 2 ** (self._failures[name] - 1), 1.0) if failed else 0.0
                self._later(pause, lambda: self._again(name))
        self._start()

    def _settle(self) -> None:
        self._left -= 1
        self._active -= 1

    def _again(self, name: int) -> None:
        self._queue.append(name)
        self._start()

    def rate_between(self, start: float, end: float) -> float:
        """Return the answers a second between two times."""
        return sum(start <= time < end for time in self.answered_at) / (end - start)
