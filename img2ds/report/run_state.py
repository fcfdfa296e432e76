"""How far a run is: its counts, its shards, its rates. Rendered by the console and as metrics."""

from __future__ import annotations

import time
from collections import deque

from img2ds.report.condition import Condition
from img2ds.report.counters import Counts

#: Seconds that the recent rate looks back, and those that the time left is estimated from.
RECENT, STEADY = 10.0, 60.0


class Rate:
    """The rate of a growing number, over the last `window` seconds."""

    def __init__(self, window: float, now: float) -> None:
        self._window = window
        self._points: deque[tuple[float, float]] = deque([(now, 0.0)])

    def add(self, value: float, now: float) -> None:
        """Record the number as it is now."""
        points = self._points
        points.append((now, value))
        # The oldest point is the last one that is as old as the window, or older.
        while len(points) > 2 and points[1][0] <= now - self._window:
            points.popleft()

    def shift(self, amount: float) -> None:
        """Add to the number without any rate."""
        self._points = deque((when, value + amount) for when, value in self._points)

    def at(self, now: float) -> float:
        """Return the rate per second, as of now: it falls while nothing is added."""
        points = self._points
        while len(points) > 1 and points[1][0] <= now - self._window:
            points.popleft()
        start, first = points[0]
        return (points[-1][1] - first) / max(now - max(start, now - self._window), 1e-3)


class RunState:
    """The state of a run. Not thread-safe, but any thread may read it.

    Attributes:
        live: rows that ended in workers, those of unfinished shards too.
        resumed: those of them that ended in an earlier run; they count for no rate.
        committed: rows of committed shards.
        shards, failed_shards: shards that ended in this run.
        rows_expected, shards_expected: what this run has to make; None if unknown.
    """

    def __init__(self) -> None:
        self.live = Counts()
        self.resumed = Counts()
        self.committed = Counts()
        self.shards = 0
        self.failed_shards = 0
        self.rows_expected: int | None = None
        self.shards_expected: int | None = None
        self.condition = Condition()
        self.start()

    def start(self) -> None:
        """Start the clock."""
        self.started = time.monotonic()
        self._good = Rate(RECENT, self.started)
        self._bytes = Rate(RECENT, self.started)
        self._rows = Rate(STEADY, self.started)

    def progress(self, counts: Counts, resumed: bool = False) -> None:
        """Add rows that ended in a worker, or before this run."""
        now = time.monotonic()
        self.live.merge(counts)
        if resumed:
            self.resumed.merge(counts)
            self._good.shift(counts.successes)
            self._bytes.shift(counts.bytes_received)
            self._rows.shift(counts.count)
        self._good.add(self.live.successes, now)
        self._bytes.add(self.live.bytes_received, now)
        self._rows.add(self.live.count, now)

    def commit(self, counts: Counts) -> None:
        """Add a committed shard."""
        self.shards += 1
        self.committed.merge(counts)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return max(time.monotonic() - self.started, 1e-3)

    @property
    def average(self) -> float:
        """Successes per second, since the start."""
        return (self.live.successes - self.resumed.successes) / self.seconds

    @property
    def recent(self) -> float:
        """Successes per second, in the last seconds."""
        return self._good.at(time.monotonic())

    @property
    def recent_bytes(self) -> float:
        """Bytes per second, in the last seconds."""
        return self._bytes.at(time.monotonic())

    @property
    def share_done(self) -> float | None:
        """The share of the rows that has ended, 0 to 1; None if their number is unknown."""
        if not self.rows_expected:
            return None
        return min(self.live.count / self.rows_expected, 1.0)

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the rest takes at the rate of the last minute; None if that is unknown."""
        rate = self._rows.at(time.monotonic())
        if not self.rows_expected or rate <= 0:
            return None
        return max(self.rows_expected - self.live.count, 0) / rate
