"""uvicorn's HTTP/1.1 protocol under a `ConnectionTable`.

uvicorn itself closes connections that are idle after a response, and no others: neither those that
never send a byte, nor those that send a request's head slowly, nor those that take no response.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from laion.web.client_address import TrustedProxies, key_of
from laion.web.connection_table import ConnectionLimits, ConnectionTable

#: Seconds between two looks at the deadlines.
_INTERVAL = 1.0

_REFUSED = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
    b"retry-after: 1\r\nconnection: close\r\ncontent-length: 32\r\n\r\n"
    b'{"error":"too many connections"}'
)
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
    b"connection: close\r\ncontent-length: 36\r\n\r\n"
    b'{"error":"the request is too large"}'
)


class ConnectionGuard:
    """Makes uvicorn's protocols, for its setting `http`, and closes connections in time.

    Args:
        proxies: may have any number of connections.
    """

    def __init__(self, limits: ConnectionLimits, proxies: TrustedProxies) -> None:
        self.table = ConnectionTable(limits, self._time)
        self._proxies = proxies
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, **given: Any) -> GuardedProtocol:
        return GuardedProtocol(self, **given)

    @staticmethod
    def _time() -> float:
        return asyncio.get_running_loop().time()

    def client(self, peer: str) -> str:
        """Return what a peer's connections are counted by: nothing for proxies."""
        return "" if self._proxies.trusts(peer) else key_of(peer)

    def watch(self) -> None:
        """Close connections whose time is up, from now on until there are none."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_INTERVAL, self._look)

    def _look(self) -> None:
        self.table.close_expired()
        self._timer = None
        if len(self.table):
            self.watch()


def build_server(app: ASGIApp, guard: ConnectionGuard) -> uvicorn.Server:
    """Return a server of an application, to be run on sockets that listen."""
    config = uvicorn.Config(
        app,
        http=cast(Any, guard),  # it is called as the class would be
        ws="none",
        log_level="error",  # clients must not fill the log
        access_log=False,
        server_header=False,
        proxy_headers=False,  # see `ForwardedFor`
        timeout_keep_alive=math.ceil(guard.table.limits.idle_seconds) + 5,  # the table is earlier
        timeout_graceful_shutdown=3,
    )
    return uvicorn.Server(config)


class GuardedProtocol(HttpToolsProtocol):
    """One connection. The methods `on_...` are called by the parser and, at last, by uvicorn."""

    def __init__(self, guard: ConnectionGuard, **given: Any) -> None:
        super().__init__(**given)
        self._guard = guard
        self._table = guard.table
        self._requests = 0  # in progress
        self._is_later = False  # whether a request has been answered
        self._head = 0  # bytes since the last request, without bodies

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        client = self._guard.client(self.client[0] if self.client else "")
        self._connection = self._table.open(client, transport.abort)
        self._guard.watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._table.closed(self._connection)

    def data_received(self, data: bytes) -> None:
        if self._connection.is_refused:
            self._end(_REFUSED)
            return
        if self._connection.is_waiting and self._is_later and not self._head:
            self._table.first_byte(self._connection)
        self._head += len(data)
        super().data_received(data)
        if self._head > self._table.limits.head_bytes and not self.transport.is_closing():
            self._end(_HEAD_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._requests += 1
        self._table.busy(self._connection)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._requests -= 1
        self._is_later = True
        if not self._requests:
            self._table.idle(self._connection)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._table.stuck(self._connection, True)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._table.stuck(self._connection, False)

    def _end(self, response: bytes) -> None:
        self.transport.write(response)
        self.transport.close()
