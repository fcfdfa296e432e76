"""The default fetcher: our own client on trio sockets."""

from __future__ import annotations

from img2ds.config.options import NetworkOptions
from img2ds.core.sample import Body
from img2ds.net.budget import Lease
from img2ds.net.connection import Connection
from img2ds.net.error import ClosedEarly, FetchError
from img2ds.net.exchange import Exchange
from img2ds.net.pool import Pool
from img2ds.net.proxy import Proxy, blamed, says_keep_alive
from img2ds.net.redirecting import RedirectingFetcher
from img2ds.net.reply import Head
from img2ds.net.request import request_tail
from img2ds.net.resolver import Resolver
from img2ds.net.sockets import Deadline
from img2ds.net.url import Url

#: Bytes of the buffer that all exchanges share.
_SCRATCH = 65_536


class TrioFetcher(RedirectingFetcher):
    """Keep-alive by origin, bodies received in place."""

    def __init__(self, options: NetworkOptions, resolver: Resolver | None = None) -> None:
        super().__init__(options, resolver)
        self._pool = Pool(options.thread_count)
        self._request_tail = request_tail(options)
        self._scratch = bytearray(_SCRATCH)

    async def get(
        self, url: Url, proxy: Proxy | None, due: Deadline, lease: Lease
    ) -> tuple[Head, Body]:
        """See `RedirectingFetcher.get`."""
        relayed = proxy is not None and proxy.relays(url)
        if proxy is not None and relayed:
            target, credentials = url.text, proxy.header
        else:
            target, credentials = url.target, b""
        request = b"GET %b HTTP/1.1\r\nHost: %b\r\n%b%b" % (
            target.encode("ascii"),
            url.authority.encode("ascii"),
            credentials,
            self._request_tail,
        )
        try:
            connection, exchange, head = await self._request(url, proxy, request, due, lease)
        except FetchError as error:
            raise (blamed(error, silence=False) if relayed else error) from None
        try:
            if self.rules.wants_body(head):
                body = await exchange.body(head, self.options.max_image_bytes)
            else:
                exchange.skip(head)
                body = b""
        except BaseException:
            connection.close()
            raise
        if exchange.reusable and (not relayed or says_keep_alive(head)):
            # A proxy's are kept for one host, too: if it relays blindly, the host would answer for
            # others.
            self._pool.give(url.origin, connection)
        else:
            connection.close()
        return head, body

    async def _request(
        self, url: Url, proxy: Proxy | None, request: bytes, due: Deadline, lease: Lease
    ) -> tuple[Connection, Exchange, Head]:
        """Send on a kept connection, or on a new one; a kept one may have been closed by now."""
        while True:
            connection = self._pool.take(url.origin)
            if connection is None:
                connection = await self.connect(url, proxy, due, lease)
            try:
                exchange = Exchange(connection, due, lease, self._scratch)
                return connection, exchange, await exchange.request(request)
            except ClosedEarly:
                connection.close()
                if not connection.used:
                    raise
            except BaseException:
                connection.close()
                raise

    async def aclose(self) -> None:
        """Close idle connections."""
        self._pool.close()
