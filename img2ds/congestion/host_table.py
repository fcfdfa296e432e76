"""What the workers of a machine share of each host: rows in progress, and what was learned.

A table without chains: the hash of a host names its place. Two hosts of one place share their
limits, which makes the slower one's hold for both, and no more than that. A place that nobody uses
goes to the next host that needs it.

The rows in progress stand in a column for each worker, which it alone writes; a dead worker's
column is cleared by who leads. The other numbers are written by whoever learns something: two
workers that write at once lose a count of one, and nobody ever waits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import trio

from img2ds.congestion.host_tag import host_tag
from img2ds.congestion.machine import MAX_WORKERS
from img2ds.congestion.shared_file import SharedFile

#: Places for hosts: 1 MB, and 12 kB for each worker.
PLACES = 4096
#: Seconds after which a place with learned limits may go to another host.
FORGET_AFTER = 600.0
#: Seconds between two searches for new workers.
COUNT_INTERVAL = 1.0
#: Parts of a second by which responses are counted, and for how many of them.
BUCKET, BUCKETS = 0.25, 10
_ROW = 64  # doubles a place
_ZEROS = memoryview(bytes(8 * _ROW)).cast("d")


class Field:
    """A number of a host. Times are seconds of `HostTable.clock`; 0 where there is none."""

    TAG = 0  #: hash of the host that has the place, an integer
    USED_AT = 1  #: when it was last asked
    # From here to `STREAK`: what was learned of its limits.
    NEXT_START = 2  #: when the next row may start by the rate (GCRA)
    RATE = 3  #: rows a second that may start
    REFUSED_RATE = 4  #: rows a second that the host took when it refused others
    WINDOW = 5  #: rows that may be in progress
    REFUSED_WINDOW = 6  #: rows in progress when it refused one
    BORNE = 7  #: rows in progress at the last cut of the window that were accepted
    CUT_AT = 8  #: when rate or window were last cut
    GROWN_AT = 9  #: when they last grew
    HOLD = 10  #: seconds that they stay below the level that was refused
    HOLD_UNTIL = 11  #: until when they do
    PAUSED_UNTIL = 12  #: when its last pause ends
    STREAK = 13  #: cuts since the host last accepted a row
    ACCEPTED_AT = 14  #: when it last accepted a row
    LIMITED_AT = 15  #: when it last said that there were too many requests
    FORBIDDEN = 16  #: rows that met 403 since it last accepted one
    HOPELESS = 17  #: 1 for a host that refuses everything, however long one waits
    BUCKET_TIMES = 18  #: from here: numbers of the `BUCKET`s that are counted
    ACCEPTED = BUCKET_TIMES + BUCKETS  #: from here: rows accepted in it
    REFUSED = ACCEPTED + BUCKETS  #: from here: rows refused in it
    STARTED = REFUSED + BUCKETS  #: from here: rows that started in it
    ANSWERED = STARTED + BUCKETS  #: 1 for a host that has answered a worker, with whatever
    ASKER = ANSWERED + 1  #: index, from 1, of the worker that asks it for the first time


class HostTable:
    """The table, as one worker sees it. Places are numbers from `find`.

    Args:
        token: the same for all workers of a run, see `shared_file`; None for a worker alone.
        worker: the worker's index at its `Machine`.

    Attributes:
        fields: all numbers; those of a place begin at `at(place)`.
        clock: the time that is the same for all who share the table.
        alone: whether no other worker can share it.
        next_count: when to call `count_workers` again.
    """

    def __init__(self, token: str | None = None, worker: int = 0) -> None:
        head, rows, column = MAX_WORKERS, 8 * _ROW * PLACES, 2 * PLACES
        file = SharedFile(token, "hosts", head + rows + MAX_WORKERS * (column + PLACES))
        memory = memoryview(file.memory)
        self._file = file
        self._workers = memory[:head]
        self.fields = memory[head : head + rows].cast("d")
        self._tags = memory[head : head + rows].cast("Q")
        self._active = memory[head + rows : head + rows + MAX_WORKERS * column].cast("H")
        self._waiting = memory[head + rows + MAX_WORKERS * column :]
        self._worker = worker
        self._own = worker * PLACES
        self.alone = file.descriptor is None
        self.clock: Callable[[], float] = trio.current_time if self.alone else time.monotonic
        self.clear_worker(worker)
        self._workers[worker] = 1
        self.count_workers(-math.inf)

    @staticmethod
    def at(place: int) -> int:
        """Return where the numbers of a place begin in `fields`."""
        return place * _ROW

    def find(self, host: str, now: float) -> int:
        """Return the place of a host, which may have to share it."""
        if now >= self.next_count:
            self.count_workers(now)
        tag = host_tag(host)
        place = tag % PLACES
        if self._tags[place * _ROW + Field.TAG] != tag and self._is_free(place, now):
            start = place * _ROW
            self.fields[start : start + _ROW] = _ZEROS
            self._tags[start + Field.TAG] = tag
        return place

    def belongs_to(self, place: int, host: str) -> bool:
        """Return whether a place is that of `host`, which need not share it."""
        return self._tags[place * _ROW + Field.TAG] == host_tag(host)

    def start(self, place: int) -> None:
        """Count a row of this worker that starts."""
        self._active[self._own + place] += 1

    def leave(self, place: int) -> None:
        """Count the end of a row of this worker."""
        if self._active[self._own + place]:  # not after a clearing
            self._active[self._own + place] -= 1

    @property
    def worker(self) -> int:
        """This worker's index."""
        return self._worker

    def has_rows(self, worker: int, place: int) -> bool:
        """Return whether a worker has rows in progress."""
        return self._active[worker * PLACES + place] > 0

    def own(self, place: int) -> int:
        """Return this worker's rows in progress."""
        return self._active[self._own + place]

    def active(self, place: int) -> int:
        """Return the rows in progress of all workers."""
        if self.alone:
            return self._active[self._own + place]
        return sum(self._active[place : self._end : PLACES])

    def set_waiting(self, place: int, count: int) -> None:
        """Tell the other workers how many rows of this one wait for the host."""
        self._waiting[self._own + place] = min(count, 255)

    def waiting(self, place: int) -> int:
        """Return the rows of all workers that wait for the host, 255 of each at most."""
        if self.alone:
            return self._waiting[self._own + place]
        return sum(self._waiting[place : self._end : PLACES])

    def others_wait(self, place: int) -> bool:
        """Return whether rows of other workers wait for the host."""
        return not self.alone and self.waiting(place) > self._waiting[self._own + place]

    def workers_with_rows(self, place: int) -> int:
        """Return how many workers have rows at the host, this one included."""
        if self.alone:
            return 1
        active = self._active[place : self._end : PLACES]
        waiting = self._waiting[place : self._end : PLACES]
        others = sum(1 for pair in zip(active, waiting, strict=True) if any(pair))
        return others + (not self.own(place) and not self._waiting[self._own + place])

    def clear_worker(self, worker: int) -> None:
        """Clear what a worker had in progress: it has died, or has just started."""
        start = worker * PLACES
        self._active[start : start + PLACES] = memoryview(bytes(2 * PLACES)).cast("H")
        self._waiting[start : start + PLACES] = bytes(PLACES)

    def close(self) -> None:
        """Give up this worker's columns."""
        self.clear_worker(self._worker)
        self._file.close()

    def count_workers(self, now: float) -> None:
        """Look for new workers."""
        self.next_count = now + COUNT_INTERVAL
        self._end = (bytes(self._workers).rfind(1) + 1) * PLACES  # of their columns

    def _is_free(self, place: int, now: float) -> bool:
        start, fields = place * _ROW, self.fields
        if self.active(place) or self.others_wait(place):
            return False
        learned = fields[start + Field.RATE] or fields[start + Field.WINDOW]
        forget_after = FORGET_AFTER if learned or fields[start + Field.STREAK] else 0.0
        return fields[start + Field.USED_AT] + forget_after <= now
