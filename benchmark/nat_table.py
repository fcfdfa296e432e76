"""A home router's connection table. It translates nothing; it only counts entries.

A key stands for a flow; callers pass the time in seconds. Only the start of a flow is refused:
packets of a flow without an entry pass.
"""

from __future__ import annotations

import math

#: Seconds that the entry of an unanswered SYN and of a UDP flow stays. Linux keeps UDP flows for
#: 30 s and unanswered SYNs for up to 120.
UNANSWERED = UDP = 30.0
#: Who has sent a FIN.
CLIENT, SERVER = 1, 2


class NatTable:
    """Entries of flows, at most `limit` at once.

    Args:
        limit: number of entries.
        linger: seconds that an entry stays after its connection has ended.

    Attributes:
        most: largest number of entries so far.
    """

    def __init__(self, limit: int, linger: float = 0.0) -> None:
        self._limit, self._linger = limit, linger
        #: When each entry ends; infinite for an open connection.
        self._ends: dict[bytes, float] = {}
        self._fins: dict[bytes, int] = {}
        self._soonest = math.inf
        self.most = 0

    def __len__(self) -> int:
        return len(self._ends)

    def syn(self, key: bytes, now: float) -> bool:
        """Return whether a SYN passes: it has an entry, or there is room for one."""
        # A flow with FINs is over: its ports are used again.
        if key in self._ends and key not in self._fins:
            return True
        return self._open(key, now, now + UNANSWERED)

    def udp(self, key: bytes, now: float) -> bool:
        """Return whether a UDP packet passes, and keep its entry for `UDP` seconds more."""
        return self._open(key, now, now + UDP)

    def answered(self, key: bytes) -> None:
        """Keep the entry of a connection that the server accepted."""
        if key in self._ends and key not in self._fins:
            self._ends[key] = math.inf

    def fin(self, key: bytes, side: int, now: float) -> None:
        """Note a FIN of `CLIENT` or `SERVER`; with both, the connection has ended."""
        if key in self._ends:
            seen = self._fins.get(key, 0)
            self._fins[key] = seen | side
            if seen != CLIENT | SERVER == seen | side:
                self._end(key, now)

    def reset(self, key: bytes, now: float) -> None:
        """End a connection at once."""
        if key in self._ends and self._fins.get(key) != CLIENT | SERVER:
            self._fins[key] = CLIENT | SERVER
            self._end(key, now)

    def _end(self, key: bytes, now: float) -> None:
        if self._linger:
            self._set(key, now + self._linger)
        else:
            del self._ends[key]
            self._fins.pop(key, None)

    def _open(self, key: bytes, now: float, end: float) -> bool:
        if key not in self._ends and len(self._ends) >= self._limit:
            if now >= self._soonest:
                self._purge(now)
            if len(self._ends) >= self._limit:
                return False
        self._fins.pop(key, None)
        self._set(key, end)
        self.most = max(self.most, len(self._ends))
        return True

    def _set(self, key: bytes, end: float) -> None:
        self._ends[key] = end
        self._soonest = min(self._soonest, end)

    def _purge(self, now: float) -> None:
        for key in [key for key, end in self._ends.items() if end <= now]:
            del self._ends[key]
            self._fins.pop(key, None)
        self._soonest = min(self._ends.values(), default=math.inf)
