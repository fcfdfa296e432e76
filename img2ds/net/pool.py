"""Idle connections by origin: the newest is used first, the oldest dropped when there are many.

The pool keeps connections that can handle a request, whatever protocol they speak.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import trio

from img2ds.congestion.path import NetworkPath
from img2ds.congestion.signals import Signal
from img2ds.net.context import FetchContext
from img2ds.net.request import Request
from img2ds.net.response import Response, ResponseHead

Origin = tuple[str, str, int]

#: Seconds that an idle connection is kept; Apache's default keep-alive is 5, nginx' 75.
MAX_IDLE = 15.0


class HttpConnection(Protocol):
    """A connection to one origin that can handle requests; one class for each protocol.

    Attributes:
        used: whether it has been in the pool: then the server may have closed it meanwhile.
        reusable: whether it can handle another request, after a response.
        idle_since: when it was given to the pool, on trio's clock.
    """

    used: bool
    reusable: bool
    idle_since: float

    async def handle(
        self, request: Request, context: FetchContext, wants_body: Callable[[ResponseHead], bool]
    ) -> Response:
        """Send a request and receive its response; see `Client.send`.

        Raises:
            ClosedEarly: the connection ended before the first byte of the response.
            FetchError: as `Client.send`.
        """
        ...

    def is_idle(self) -> bool:
        """Return whether it is open and no unrequested data has arrived."""
        ...

    def close(self) -> None: ...


class Pool:
    """At most `limit` idle connections. Every operation is O(1) but for dropping the expired.

    Idle connections are the first to go when the path bears no more.
    """

    def __init__(self, limit: int, path: NetworkPath) -> None:
        self._limit = limit
        self._cell = path.machine.cell
        path.make_room = self.drop_oldest
        self._by_origin: dict[Origin, list[HttpConnection]] = {}
        self._by_age: OrderedDict[HttpConnection, Origin] = OrderedDict()

    def take(self, origin: Origin) -> HttpConnection | None:
        """Return an idle connection to `origin`, the most recently used one, or None.

        A connection that was closed meanwhile is dropped, and so is one on which something came
        unasked: it would be taken for the next response.
        """
        while idle := self._by_origin.get(origin):
            connection = idle.pop()
            if not idle:
                del self._by_origin[origin]
            del self._by_age[connection]
            self._cell[Signal.IDLE] -= 1
            expired = trio.current_time() - connection.idle_since > MAX_IDLE
            if not expired and connection.is_idle():
                return connection
            connection.close()
        return None

    def give(self, origin: Origin, connection: HttpConnection) -> None:
        """Keep a connection whose last response was read to its end."""
        now = trio.current_time()
        connection.used = True
        connection.idle_since = now
        self._by_origin.setdefault(origin, []).append(connection)
        self._by_age[connection] = origin
        self._cell[Signal.IDLE] += 1
        while self._by_age:
            oldest = next(iter(self._by_age))
            if len(self._by_age) <= self._limit and now - oldest.idle_since <= MAX_IDLE:
                break
            self._drop(oldest)

    def drop_oldest(self) -> bool:
        """Close the connection that has been idle for longest. Returns whether there was one."""
        if not self._by_age:
            return False
        self._drop(next(iter(self._by_age)))
        return True

    def close(self) -> None:
        """Close all idle connections."""
        while self.drop_oldest():
            pass

    def _drop(self, connection: HttpConnection) -> None:
        origin = self._by_age.pop(connection)
        self._cell[Signal.IDLE] -= 1
        idle = self._by_origin[origin]
        idle.remove(connection)
        if not idle:
            del self._by_origin[origin]
        connection.close()
