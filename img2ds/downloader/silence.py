"""Hosts that do not answer: when they are asked again, and whose rows fail.

A host whose connection attempt is not answered may be waking up, so that one silence is no reason
to fail a row. It is asked three times, by one row at a time while the others wait without a slot:

| silence | the row that asked | the rows that wait |
|---|---|---|
| first | asks again, when hosts that wake up have done so | wait for it |
| second | fails | wait once more, then one of them asks |
| third and each further one | fails | some fail with it, twice as many each time |

So a host with one row costs two waits, and one with a million rows ends, too.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from img2ds.core.failure import Failure, Reason, failure

#: Seconds after a first attempt's beginning in which a host may wake up, and at least between its
#: end and the second attempt.
WAKE_UP, MIN_PAUSE = 13.0, 3.0
#: Seconds between the second silence and the third attempt.
DEFERRED = 7.0
#: Seconds that attempts after the first have: a host that is there answers a SYN or its first
#: retransmission, which comes after one second (RFC 6298 2.1).
SHORT = 2.5
#: Rows that fail with the third silence at most, the one that asked included.
MAX_SHARING = 64
#: Silent hosts remembered at most, about 200 bytes each, and for how many seconds.
MAX_HOSTS, REMEMBERED = 10_000, 60.0


@dataclass(slots=True)
class _Silence:
    """A host's silences in a row, when the last one ended, and when to ask again."""

    count: int
    ended_at: float
    ask_at: float


class Silences:
    """Counts the silences of hosts. Callers pass the time in seconds."""

    def __init__(self) -> None:
        self._hosts: OrderedDict[str, _Silence] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._hosts)

    def add(self, host: str, started: float, now: float) -> int:
        """Count the silence of an attempt that began at `started`. Returns the silences so far."""
        count = self.count(host) + 1
        ask_at = now
        if count == 1:
            ask_at = max(now + MIN_PAUSE, started + WAKE_UP)
        elif count == 2:
            ask_at = now + DEFERRED
        self._hosts[host] = _Silence(count, now, ask_at)
        self._hosts.move_to_end(host)
        if len(self._hosts) > MAX_HOSTS:
            self._hosts.popitem(last=False)
        return count

    def clear(self, host: str) -> None:
        """Note that a host has answered."""
        self._hosts.pop(host, None)

    def count(self, host: str) -> int:
        """Return a host's silences in a row."""
        silence = self._hosts.get(host)
        return silence.count if silence else 0

    def forget_old(self, host: str, now: float) -> None:
        """Forget a host's silences if the last one was long ago. Not for hosts with rows."""
        silence = self._hosts.get(host)
        if silence and now - silence.ended_at >= REMEMBERED:
            del self._hosts[host]

    def ask_at(self, host: str) -> float:
        """Return when a silent host may be asked; 0 for another one."""
        silence = self._hosts.get(host)
        return silence.ask_at if silence else 0.0


def sharing(count: int) -> int:
    """Return how many rows share the silence number `count`, the one that asked included."""
    return MAX_SHARING << min(count - 3, 32) if count >= 3 else 1


def silence_failure(count: int) -> Failure:
    """Return the failure of rows that share a silence."""
    return failure(Reason.CONNECT_TIMEOUT, f"host did not answer {count} times, not asked again")
