"""From a request to an open connection: --connect_to, DNS, address guard, TCP, proxy, TLS."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import trio

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Reason
from img2ds.net.address import is_public
from img2ds.net.connect_rule import ConnectRules
from img2ds.net.context import FetchContext
from img2ds.net.deadline import Deadline
from img2ds.net.error import FetchError
from img2ds.net.proxies import Proxy, blamed
from img2ds.net.request import Request, user_agent
from img2ds.net.resolver import Resolver
from img2ds.net.stream import ByteStream
from img2ds.net.tcp import connect_tcp
from img2ds.net.tls import open_context, secure
from img2ds.net.tunnel import open_tunnel


class Connector:
    """Opens connections; every address connected to has passed the guard.

    Only a proxy's own address is not checked: the user named it.

    Raises:
        UsageError: an option cannot be used.
    """

    def __init__(self, options: NetworkOptions, resolver: Resolver) -> None:
        self._resolver = resolver
        self._rules = ConnectRules(options.connect_to)
        self._allow_private = options.allow_private_addresses
        self._tls = self._proxy_tls = open_context(options)
        if options.ignore_ssl_certificate:  # of image servers, not of who gets our password
            self._proxy_tls = open_context(replace(options, ignore_ssl_certificate=False))
        self._user_agent = user_agent(options).encode()

    async def connect(self, request: Request, context: FetchContext) -> ByteStream:
        """Open a connection for `request`, after TLS where its URL asks for it.

        With a proxy it is a connection to the proxy: through a tunnel to the host under TLS,
        without TLS one that needs the whole URL in its requests.

        Raises:
            FetchError: any of the DNS, connect, blocked_address, tls_error and local reasons;
                proxy_error, and http_NNN when the proxy cannot reach the host.
        """
        async with context.connecting:
            stream = await self._open(request, context)
            connected = trio.current_time()
        context.deadline.extend(trio.current_time() - connected)  # until there was a slot again
        return stream

    async def connect_to_host(self, host: str, port: int, deadline: Deadline) -> socket.socket:
        """Open a TCP connection to the host of a URL. Raises as `connect`."""
        host, port = self._rules.redirect(host, port) or (host, port)
        return await self._dial(host, port, deadline, guarded=not self._allow_private)

    async def connect_to_proxy(self, proxy: Proxy, deadline: Deadline) -> ByteStream:
        """Open a connection to the proxy itself, after TLS where it speaks that.

        Raises:
            FetchError: proxy_error, max_time or no_descriptors.
        """
        try:
            stream = ByteStream(await self._dial(proxy.host, proxy.port, deadline, guarded=False))
            if proxy.scheme == "http":
                return stream
            try:
                return await secure(stream, self._proxy_tls, proxy.host, deadline)
            except BaseException:
                stream.close()
                raise
        except FetchError as error:
            raise blamed(error) from None

    async def _open(self, request: Request, context: FetchContext) -> ByteStream:
        url, proxy, deadline = request.url, request.proxy, context.deadline
        if proxy is None:
            stream = ByteStream(await self.connect_to_host(url.host, url.port, deadline))
        else:
            stream = await self.connect_to_proxy(proxy, deadline)
        if url.scheme == "http":
            return stream
        try:
            if proxy is not None:
                await open_tunnel(stream, proxy, url, self._user_agent, context)
            return await secure(stream, self._tls, url.host, deadline)
        except BaseException:
            stream.close()
            raise

    async def _dial(
        self, host: str, port: int, deadline: Deadline, *, guarded: bool
    ) -> socket.socket:
        resolve = partial(self._resolver.resolve, host, deadline)
        addresses: Sequence[str] = await deadline.within(resolve)
        if guarded:
            addresses = [address for address in addresses if is_public(address)]
            if not addresses:
                raise FetchError(Reason.BLOCKED_ADDRESS, "private or reserved address")
        return await connect_tcp(addresses, port, deadline)
