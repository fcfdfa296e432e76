"""Idle connections by origin, newest first, the oldest dropped when there are too many."""

from __future__ import annotations

from collections import OrderedDict

import trio

from img2ds.net.connection import Connection

Origin = tuple[str, str, int]

#: Seconds that an idle connection is kept; Apache's default keep-alive is 5, nginx' 75.
MAX_IDLE = 15.0


class Pool:
    """At most `limit` idle connections. Every operation is O(1) but for dropping the expired."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_origin: dict[Origin, list[Connection]] = {}
        self._by_age: OrderedDict[Connection, Origin] = OrderedDict()

    def take(self, origin: Origin) -> Connection | None:
        """An idle connection to `origin`, the most recently used one, or None.

        One that was closed in the meantime is dropped, and so is one where something came that
        nobody had asked for: it would be taken for the next answer.
        """
        while idle := self._by_origin.get(origin):
            connection = idle.pop()
            if not idle:
                del self._by_origin[origin]
            del self._by_age[connection]
            expired = trio.current_time() - connection.idle_since > MAX_IDLE
            if not expired and connection.receive_now(1) is None:
                return connection
            connection.close()
        return None

    def give(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection whose last answer was read to its end."""
        now = trio.current_time()
        connection.used = True
        connection.idle_since = now
        self._by_origin.setdefault(origin, []).append(connection)
        self._by_age[connection] = origin
        while self._by_age:
            oldest = next(iter(self._by_age))
            if len(self._by_age) <= self._limit and now - oldest.idle_since <= MAX_IDLE:
                break
            self._drop(oldest)

    def close(self) -> None:
        for connection in self._by_age:
            connection.close()
        self._by_age.clear()
        self._by_origin.clear()

    def _drop(self, connection: Connection) -> None:
        origin = self._by_age.pop(connection)
        idle = self._by_origin[origin]
        idle.remove(connection)
        if not idle:
            del self._by_origin[origin]
        connection.close()
