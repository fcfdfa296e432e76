"""A client does one request. This one, the default, keeps connections alive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from img2ds.config.options import NetworkOptions
from img2ds.congestion.path import NetworkPath
from img2ds.net.connector import Connector
from img2ds.net.context import FetchContext
from img2ds.net.error import ClosedEarly
from img2ds.net.http11 import Http11Connection
from img2ds.net.http11_exchange import MAX_HEAD
from img2ds.net.http11_head import write_headers
from img2ds.net.pool import HttpConnection, Pool
from img2ds.net.request import Request, request_headers
from img2ds.net.response import Response, ResponseHead


class Client(Protocol):
    """Sends single requests, within the limits of NetworkOptions. Use from one trio run."""

    async def send(
        self, request: Request, context: FetchContext, wants_body: Callable[[ResponseHead], bool]
    ) -> Response:
        """Do one request; the body is received only when `wants_body`, called with the head.

        Raises:
            FetchError: any reason but those that the response itself decides. What fails before a
                proxy that relays has sent a head is `blamed` on it, except for its silence.
        """
        ...

    async def aclose(self) -> None:
        """Close idle connections."""
        ...


class PoolingClient:
    """A client that keeps connections for later requests to their origin."""

    def __init__(self, connector: Connector, options: NetworkOptions, path: NetworkPath) -> None:
        self._connector = connector
        self._path = path
        self._pool = Pool(options.thread_count, path)
        self._headers = write_headers(request_headers(options))
        self._max_bytes = options.max_image_bytes
        self._scratch = bytearray(MAX_HEAD)

    async def send(
        self, request: Request, context: FetchContext, wants_body: Callable[[ResponseHead], bool]
    ) -> Response:
        """See `Client.send`."""
        # A proxy's connections, too, are kept for one host: where a proxy relays blindly, that host
        # would answer for others.
        origin = request.url.origin
        while True:
            connection = self._pool.take(origin) or await self._connect(request, context)
            try:
                response = await connection.handle(request, context, wants_body)
            except ClosedEarly:
                connection.close()
                if not connection.used:
                    raise
                continue  # the server closed an idle connection: no failure of the URL
            except BaseException:
                connection.close()
                raise
            if connection.reusable and context.may_keep():
                self._pool.give(origin, connection)
            else:
                connection.close()
            return response

    async def aclose(self) -> None:
        """See `Client.aclose`."""
        self._pool.close()

    async def _connect(self, request: Request, context: FetchContext) -> HttpConnection:
        """Open a connection. The place to choose by ALPN, were another protocol offered."""
        stream = await self._connector.connect(request, context)
        return Http11Connection(stream, self._headers, self._max_bytes, self._scratch, self._path)
