"""The byte budget of a process: how many bytes of bodies may be held at once.

Bytes are counted as they arrive, since neither a Content-Length nor a cap says how many will come.
Over budget, readers wait before their next read. When all holders wait, one is let through: the
budget is a bound to work within, never a deadlock. A holder whose body hardly arrives while others
wait loses its place, the largest one first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType

import trio

#: Seconds between two looks at the holders while others wait.
LOOK_EVERY = 1.0
#: Bytes a second that a holder has to receive then. A body of 50 MB needs 14 times as many to end
#: within 60 s.
FAIR_RATE = 65_536
#: Bytes that are worth it: the bodies of most images are smaller.
MIN_HELD = 1 << 20


class Budget:
    """Bytes that may be held. Overshoot is at most one read for each reader, and one body."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._working = 0  # leases that hold bytes and do not wait
        self._waiting: deque[tuple[Lease, trio.Event]] = deque()
        self._holders: set[Lease] = set()
        self._looked_at = 0.0

    def lease(self) -> Lease:
        """Return a new lease, for what one row will hold."""
        return Lease(self)

    def _look(self) -> None:
        """Evict the largest holder that received too little since the last look."""
        now = trio.current_time()
        since = now - self._looked_at
        if since < LOOK_EVERY:
            return
        self._looked_at = now
        receiving = [lease for lease in self._holders if lease.evict and not lease.waits]
        if since < 2 * LOOK_EVERY:
            slow = [
                lease
                for lease in receiving
                if lease.held - lease.marked < FAIR_RATE * since and lease.held >= MIN_HELD
            ]
            if slow:
                max(slow, key=lambda lease: lease.held).lose_place()
        for lease in receiving:
            lease.marked = lease.held

    def _wake(self) -> None:
        while self._waiting and (self.held < self.limit or self._working == 0):
            lease, event = self._waiting.popleft()
            lease.privileged = self.held >= self.limit
            self._working += lease.held > 0
            event.set()
            if lease.privileged:
                return


class Lease:
    """The bytes that one row holds, from its first byte to its last use; a context manager.

    Attributes:
        evict: ends the read that the holder waits for; None while it does not receive.
        evicted: whether that was called: the body is given up.
        marked: bytes held at the budget's last look.
        waits: whether the holder waits for room.
    """

    __slots__ = ("budget", "evict", "evicted", "held", "marked", "privileged", "waits")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.held = 0
        self.marked = 0
        self.privileged = False
        self.waits = False
        self.evict: Callable[[], None] | None = None
        self.evicted = False

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
                self.budget._holders.add(self)
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
            self.waits = True
            try:
                while not event.is_set():
                    with trio.move_on_after(LOOK_EVERY):
                        await event.wait()
                    if not event.is_set():
                        budget._look()
            except trio.Cancelled:
                if not event.is_set():
                    budget._waiting.remove(entry)
                    budget._working += self.held > 0
                raise
            finally:
                self.waits = False

    def lose_place(self) -> None:
        """End the holder's read, so that it gives its bytes back."""
        assert self.evict is not None
        self.evicted = True
        self.evict()
        self.evict = None

    def release(self) -> None:
        """Give all bytes back. The lease may be used again."""
        budget = self.budget
        if self.held:
            budget.held -= self.held
            budget._working -= 1
            budget._holders.remove(self)
            self.held = self.marked = 0
        self.privileged = False
        budget._wake()
