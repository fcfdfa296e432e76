"""Hosts that do not answer: when they are asked again, and whose rows fail.

A host whose connection attempt is not answered may be waking up, so that one silence is no reason
to fail a row. It is asked three times, by one row of the machine at a time while the others wait
without a slot:

| silence | the row that asked | the rows that wait |
|---|---|---|
| first | asks again, when hosts that wake up have done so | wait for it |
| second | fails | one of them asks: where they are few at once, else they wait once more |
| third and each further one | fails | some fail with it, twice as many each time |

So a host with few rows costs three waits, and one with a million rows ends, too.
"""

from __future__ import annotations

from typing import NamedTuple

from img2ds.congestion.silence_table import Silence, SilenceTable
from img2ds.core.failure import Failure, Reason, failure

#: Seconds after a first attempt's beginning in which a host may wake up, and at least between its
#: end and the second attempt.
WAKE_UP, MIN_PAUSE = 13.0, 3.0
#: Seconds between the second silence and the third attempt, where a worker has so many rows waiting
#: that one more chance is worth the time.
DEFERRED, MANY_ROWS = 7.0, 10
#: Seconds that attempts after the first have at most: a host that is there answers a SYN or its
#: first retransmission, which comes after one second (RFC 6298 2.1).
SHORT = 2.5
#: Seconds until a worker looks again at a host that another one's row asks, and after which that
#: row is not waited for: it may have to wait itself.
POLL_INTERVAL, ASKING = 0.25, SHORT + 0.5
#: Rows of a worker that fail with the third silence at most, the one that asked included.
MAX_SHARING = 64
#: Seconds for which a silent host is remembered.
REMEMBERED = 60.0


class Silent(NamedTuple):
    """What follows from a host's silence.

    Attributes:
        number: the silence's, in a row of them.
        waits: whether the row that asked waits with its host again. Else it fails.
    """

    number: int
    waits: bool


class Silences:
    """Counts the silences of hosts, for all workers of a machine.

    Args:
        table: where they stand. Callers pass the time in seconds of the clock of its workers.

    Attributes:
        any: its one number is above 0 when any host was ever silent: a row asks several times.
    """

    def __init__(self, table: SilenceTable) -> None:
        self._table = table
        self._fields = table.fields
        self.any = table.any

    def add(self, host: str, started: float, now: float, many: bool = False) -> int:
        """Count the silence of an attempt that began at `started`. Returns the silences so far.

        An attempt that began before the host was to be asked again tells nothing beyond the last.

        Args:
            many: whether many rows wait for the host.
        """
        at, fields = self._table.take(host), self._fields
        if started < fields[at + Silence.ASK_AT]:
            return int(fields[at + Silence.COUNT])
        count = fields[at + Silence.COUNT] = fields[at + Silence.COUNT] + 1
        ask_at = now
        if count == 1:
            ask_at = max(now + MIN_PAUSE, started + WAKE_UP)
        elif count == 2 and many:
            ask_at = now + DEFERRED
        fields[at + Silence.ENDED_AT], fields[at + Silence.ASK_AT] = now, ask_at
        fields[at + Silence.ASKING_UNTIL] = 0.0
        return int(count)

    def clear(self, host: str) -> None:
        """Note that a host has answered."""
        at = self._table.find(host)
        if at >= 0:
            self._table.remove(at)

    def count(self, host: str) -> int:
        """Return a host's silences in a row."""
        if not self.any[0]:
            return 0
        at = self._table.find(host)
        return int(self._fields[at + Silence.COUNT]) if at >= 0 else 0

    def forget_old(self, host: str, now: float) -> None:
        """Forget a host's silences if the last one was long ago. Not for hosts with rows."""
        at = self._table.find(host)
        if at >= 0 and now - self._fields[at + Silence.ENDED_AT] >= REMEMBERED:
            self._table.remove(at)

    def ask_at(self, host: str, now: float) -> float:
        """Return when to see whether a silent host may be asked; 0 for another one."""
        at = self._table.find(host)
        if at < 0:
            return 0.0
        asking_until = self._fields[at + Silence.ASKING_UNTIL]
        if asking_until > now:
            return min(asking_until, now + POLL_INTERVAL)
        return self._fields[at + Silence.ASK_AT]

    def ask(self, host: str, now: float) -> None:
        """Note that a row asks a silent host: no other one need do so meanwhile."""
        at = self._table.find(host)
        if at >= 0:
            self._fields[at + Silence.ASKING_UNTIL] = now + ASKING


def sharing(count: int) -> int:
    """Return how many rows share the silence number `count`, the one that asked included."""
    return MAX_SHARING << min(count - 3, 32) if count >= 3 else 1


def silence_failure(count: int) -> Failure:
    """Return the failure of rows that share a silence."""
    return failure(Reason.CONNECT_TIMEOUT, f"host did not answer {count} times, not asked again")
