"""Which connections are open, and which of them have to be closed. Pure.

A connection waits for a request, or is busy with one. Those that wait cost nobody anything: where
a limit is reached, the one that has waited longest makes room for a new one. So connections that
send nothing lock nobody out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

#: Connections beyond the limits that may be told so, at once; others are closed without a word.
MAX_REFUSED = 64


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections there may be, and how long they may wait.

    Attributes:
        total, per_address: connections at once.
        head_seconds: for the head of a request: since the connection was opened, or since the
            first byte of a later request.
        idle_seconds: between a response and the next request.
        write_seconds: in which a client takes nothing of a response.
        head_bytes: of a request's head.
    """

    total: int = 1024
    per_address: int = 256
    head_seconds: float = 10.0
    idle_seconds: float = 30.0
    write_seconds: float = 30.0
    head_bytes: int = 65_536


@dataclass(eq=False, slots=True)
class Connection:
    """One connection, as the table knows it.

    Attributes:
        client: what identifies its peer; the empty text for a trusted proxy, which may have any
            number of connections.
        close: closes it at once.
        is_waiting: whether it waits for a request; else it is busy with one.
        deadline: when it is closed, if nothing changes.
        is_refused: whether there is no room for it: its request gets status 503.
    """

    client: str
    close: Callable[[], None]
    deadline: float | None
    is_waiting: bool = True
    is_refused: bool = False


@dataclass(slots=True)
class ConnectionTable:
    """All connections of a server.

    Attributes:
        evicted, expired, refused: connections that made room for others, that took too long, and
            that found no room.
    """

    limits: ConnectionLimits
    clock: Callable[[], float]
    evicted: int = 0
    expired: int = 0
    refused: int = 0
    #: In the order in which they were opened or, once they were busy, became idle.
    _open: dict[Connection, None] = field(default_factory=dict)
    _refused: dict[Connection, None] = field(default_factory=dict)
    _clients: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._open) + len(self._refused)

    def open(self, client: str, close: Callable[[], None]) -> Connection:
        """Add a connection. It is refused if all others are busy: see `Connection.is_refused`."""
        limits, now = self.limits, self.clock()
        connection = Connection(client, close, now + limits.head_seconds)
        if client and self._clients[client] >= limits.per_address:
            connection.is_refused = not self._evict(client)
        elif len(self._open) >= limits.total:
            connection.is_refused = not self._evict(None)
        if connection.is_refused:
            self.refused += 1
            if len(self._refused) >= MAX_REFUSED:
                self._drop(next(iter(self._refused)))
            self._refused[connection] = None
        else:
            self._open[connection] = None
            self._clients[client] += 1
        return connection

    def _evict(self, client: str | None) -> bool:
        """Close the connection of a client, or of any, that has waited longest."""
        for connection in self._open:
            if connection.is_waiting and client in (None, connection.client):
                self.evicted += 1
                self._drop(connection)
                return True
        return False

    def first_byte(self, connection: Connection) -> None:
        """Note that a later request begins."""
        connection.deadline = self.clock() + self.limits.head_seconds

    def busy(self, connection: Connection) -> None:
        """Note that a request has come."""
        connection.is_waiting, connection.deadline = False, None

    def idle(self, connection: Connection) -> None:
        """Note that all requests are answered."""
        if connection in self._open:  # it becomes the last one of those that wait
            del self._open[connection]
            self._open[connection] = None
        connection.is_waiting = True
        connection.deadline = self.clock() + self.limits.idle_seconds

    def stuck(self, connection: Connection, is_stuck: bool) -> None:
        """Note whether the client takes nothing of a response while there is more."""
        if not connection.is_waiting:
            until = self.clock() + self.limits.write_seconds
            connection.deadline = until if is_stuck else None

    def closed(self, connection: Connection) -> None:
        """Remove a connection."""
        self._refused.pop(connection, None)
        if connection in self._open:
            del self._open[connection]
            self._clients[connection.client] -= 1
            if not self._clients[connection.client]:
                del self._clients[connection.client]

    def close_expired(self) -> None:
        """Close the connections whose time is up."""
        now = self.clock()
        for connection in [*self._open, *self._refused]:
            if connection.deadline is not None and connection.deadline <= now:
                self.expired += 1
                self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self.closed(connection)
        connection.close()
