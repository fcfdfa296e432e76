"""A simulation of workers that ask one host for rows, without I/O and with time of its own."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

from benchmark.counting_cdn import CountingCdn
from img2ds.congestion.host_control import HostControl
from img2ds.congestion.host_refusal import (
    FEW_ROWS,
    MAX_LAST_REFUSALS,
    MAX_REFUSALS,
    Refusal,
    Refused,
)
from img2ds.congestion.host_table import HostTable

#: Seconds of a round trip, and more until a response, uniform.
RTT, ANSWER = 0.03, (0.02, 0.25)
#: Rows that a worker has in progress at most.
SLOTS = 256

_REFUSALS = {
    0: Refusal.RESET, 403: Refusal.FORBIDDEN, 429: Refusal.RATE, 503: Refusal.BUSY,
}  # fmt: skip


@dataclass
class Outcome:
    """What became of all rows; `refused` counts refusals, `seconds` is the time of the last."""

    accepted: int = 0
    lost: int = 0
    refused: int = 0
    seconds: float = 0.0
    starts: list[float] = field(default_factory=list, repr=False)


class Simulation:
    """Workers and a host.

    Args:
        answer: returns the status of a request at a time, 0 for a reset; called on its arrival.
        ended: called when a response has been sent.
    """

    def __init__(
        self,
        tables: list[HostTable],
        rows: int,
        answer: Callable[[float], int],
        *,
        ended: Callable[[], None] = lambda: None,
        retry_after: Callable[[], float | None] = lambda: None,
        limit: int = 64,
        rate: float = 0.0,
    ) -> None:
        self.now = 1000.0
        self._answer, self._ended, self._retry_after = answer, ended, retry_after
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._random = Random(3)
        self.outcome = Outcome()
        self._workers = []
        for number, table in enumerate(tables):
            control = HostControl(table, limit, rate)
            share = rows // len(tables) + (number < rows % len(tables))
            self._workers.append(_Worker(self, control, share))

    def at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), call))

    def run(self, limit: float = 3600.0) -> Outcome:
        """Run until all rows have ended. Raises TimeoutError."""
        began = self.now
        for worker in self._workers:
            self.at(self.now, worker.start_rows)
        while self._events:
            self.now, _, call = heapq.heappop(self._events)
            if self.now - began > limit:
                raise TimeoutError(self.outcome)
            call()
            if not any(worker.left for worker in self._workers):
                break
        self.outcome.seconds = self.now - began
        return self.outcome

    def ask(self, done: Callable[[int], None]) -> None:
        """Send a request."""
        self.outcome.starts.append(self.now)
        self.at(self.now + RTT / 2, lambda: self._arrive(done))

    def retry_after(self) -> float | None:
        return self._retry_after()

    def _arrive(self, done: Callable[[int], None]) -> None:
        status = self._answer(self.now)
        if status != 200:
            self.at(self.now + RTT / 2, lambda: done(status))
            return
        sent = self.now + self._random.uniform(*ANSWER)
        self.at(sent, self._ended)
        self.at(sent + RTT / 2, lambda: done(200))


class _Worker:
    """A worker with rows; each refused row comes back at the end of its queue."""

    def __init__(self, simulation: Simulation, control: HostControl, rows: int) -> None:
        self._simulation, self._control = simulation, control
        self._waiting = deque([0] * rows)  # refusals of each
        self.left = rows
        self._place = control.table.find("host", simulation.now)
        self._wake_at = float("inf")
        self._own = 0

    def wake(self) -> None:
        self._wake_at = float("inf")
        self.start_rows()

    def start_rows(self) -> None:
        simulation, control = self._simulation, self._control
        control.table.set_waiting(self._place, len(self._waiting))
        while self._waiting and self._own < SLOTS:
            due = control.due(self._place, simulation.now)
            if due > simulation.now:
                if due < self._wake_at:
                    self._wake_at = due
                    simulation.at(due, self.wake)
                return
            self._start(self._waiting.popleft())
            control.table.set_waiting(self._place, len(self._waiting))

    def _start(self, refusals: int) -> None:
        simulation, started = self._simulation, self._simulation.now
        self._own += 1
        self._control.start(self._place, started)

        def done(status: int) -> None:
            outcome, now = simulation.outcome, simulation.now
            back = False
            if status == 200:
                outcome.accepted += 1
                self._control.accept(self._place, started, now)
            else:
                outcome.refused += 1
                few = self.left < FEW_ROWS and not self._control.table.others_wait(self._place)
                accepted = self._control.accepted_since(self._place, started)
                again = refusals > 0 and (few or accepted)
                wait = simulation.retry_after() if status in (429, 503) else None
                refused = Refused(_REFUSALS[status], wait, started, again, before=refusals)
                back = refusals + 1 < (MAX_LAST_REFUSALS if few else MAX_REFUSALS)
                back = back and self._control.refuse(self._place, refused, now)
            self._control.table.leave(self._place)
            self._own -= 1
            if back:
                self._waiting.append(refusals + 1)
            else:
                self.left -= 1
                outcome.lost += status != 200
            self.start_rows()

        simulation.ask(done)


def counting(cdn: CountingCdn) -> Callable[[float], int]:
    """Return the answers of a CDN that counts requests and connections, one for each request."""

    def answer(now: float) -> int:
        if not cdn.connect(now):
            return 0
        status = cdn.request(now)
        if status != 200:
            cdn.disconnect()
        return status

    return answer
