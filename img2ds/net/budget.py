"""The byte budget of a process: how many bytes of bodies may be held at once.

Bytes are counted as they arrive, since neither a Content-Length nor a cap says how many will come.
Over budget, readers wait before their next read. When all holders wait, one is let through: the
budget is a bound to work within, never a deadlock.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType

import trio


class Budget:
    """Bytes that may be held. Overshoot is at most one read for each reader, and one body."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._working = 0  # leases that hold bytes and do not wait
        self._waiting: deque[tuple[Lease, trio.Event]] = deque()

    def lease(self) -> Lease:
        """Return a new lease, for what one row will hold."""
        return Lease(self)

    def _wake(self) -> None:
        while self._waiting and (self.held < self.limit or self._working == 0):
            lease, event = self._waiting.popleft()
            lease.privileged = self.held >= self.limit
            self._working += lease.held > 0
            event.set()
            if lease.privileged:
                return


class Lease:
    """The bytes that one row holds, from its first byte to its last use; a context manager."""

    __slots__ = ("budget", "held", "privileged")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.held = 0
        self.privileged = False

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def exhausted(self) -> bool:
        """Whether `wait` must be called before the next read."""
        return self.budget.held >= self.budget.limit and not self.privileged

    def add(self, count: int) -> None:
        """Count `count` bytes that have arrived."""
        if count:
            if not self.held:
                self.budget._working += 1
            self.held += count
            self.budget.held += count

    async def wait(self) -> None:
        """Sleep until there is room, or until all other holders wait too."""
        budget = self.budget
        while self.exhausted:
            event = trio.Event()
            entry = (self, event)
            budget._working -= self.held > 0
            budget._waiting.append(entry)
            budget._wake()
            try:
                await event.wait()
            except trio.Cancelled:
                if not event.is_set():
                    budget._waiting.remove(entry)
                    budget._working += self.held > 0
                raise

    def release(self) -> None:
        """Give all bytes back. The lease may be used again."""
        budget = self.budget
        if self.held:
            budget.held -= self.held
            budget._working -= 1
            self.held = 0
        self.privileged = False
        budget._wake()
