"""From a request to an open connection: --connect_to, DNS, address guard, TCP, proxy, TLS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import trio

from img2ds.config.options import NetworkOptions
from img2ds.congestion.path import NetworkPath
from img2ds.core.failure import Reason
from img2ds.net.address import is_public
from img2ds.net.budget import Budget
from img2ds.net.connect_rule import ConnectRules
from img2ds.net.context import FetchContext
from img2ds.net.deadline import Deadline
from img2ds.net.error import FetchError
from img2ds.net.family_order import FamilyOrder
from img2ds.net.http11_exchange import MAX_HEAD, Exchange
from img2ds.net.http11_head import write_head, write_headers
from img2ds.net.issuers import INCOMPLETE, MAX_ISSUER, Helped, IncompleteChainError, Issuers
from img2ds.net.proxies import Proxy, blamed
from img2ds.net.request import Request, user_agent
from img2ds.net.resolver import Resolver
from img2ds.net.stream import ByteStream
from img2ds.net.tcp import connect_tcp
from img2ds.net.tls import secure
from img2ds.net.tls_context import open_context
from img2ds.net.tunnel import open_tunnel
from img2ds.net.url import Url


class Connector:
    """Opens connections; every address connected to has passed the guard.

    Only a proxy's own address is not checked: the user named it.

    Args:
        path: says when a connection may be opened, and is told what becomes of it.

    Raises:
        UsageError: an option cannot be used.
    """

    def __init__(self, options: NetworkOptions, resolver: Resolver, path: NetworkPath) -> None:
        self._resolver = resolver
        self._path = path
        self._order = FamilyOrder()
        self._rules = ConnectRules(options.connect_to)
        self._allow_private = options.allow_private_addresses
        self._tls = self._proxy_tls = open_context(options)
        if options.ignore_ssl_certificate:  # of image servers, not of who gets our password
            self._proxy_tls = open_context(replace(options, ignore_ssl_certificate=False))
        self._user_agent = user_agent(options).encode()
        self._issuers = Issuers(partial(open_context, options), self._fetch_issuer)

    async def connect(self, request: Request, context: FetchContext) -> ByteStream:
        """Open a connection for `request`, after TLS where its URL asks for it.

        With a proxy it is a connection to the proxy: through a tunnel to the host under TLS,
        without TLS one that needs the whole URL in its requests.

        Raises:
            FetchError: any of the DNS, connect, blocked_address, tls_error and local reasons;
                proxy_error, and http_NNN when the proxy cannot reach the host.
        """
        try:
            return await self._connect(request, context)
        except IncompleteChainError as error:
            if request.proxy is not None:
                raise
            async with context.connecting:
                helped = await self._issuers.help(error, context.deadline)
            return await self._connect(request, context, helped)

    async def _connect(
        self, request: Request, context: FetchContext, helped: Helped | None = None
    ) -> ByteStream:
        deadline = context.deadline
        stream: ByteStream | None = None
        try:
            async with context.connecting:
                began = trio.current_time()
                try:
                    addresses, port = await self._look_up(request, deadline)
                finally:
                    done = trio.current_time()
                    context.resolving = max(context.resolving, 0.0) + done - began
            await self._enter(context, done)
            async with context.connecting:
                stream = await self._open(request, context, addresses, port, helped)
                done = trio.current_time()
        except BaseException:
            if stream is not None:
                stream.close()
            raise
        deadline.extend(trio.current_time() - done)  # until there was a slot again
        return stream

    async def connect_to_proxy(self, proxy: Proxy, deadline: Deadline) -> ByteStream:
        """Open a connection to the proxy itself, after TLS where it speaks that.

        Raises:
            FetchError: proxy_error, max_time or no_descriptors.
        """
        try:
            addresses = await self._resolve(proxy.host, deadline, guarded=False)
        except FetchError as error:
            raise blamed(error) from None
        await self._path.connections.enter()
        return await self._open_proxy(proxy, addresses, deadline)

    async def _look_up(self, request: Request, deadline: Deadline) -> tuple[Sequence[str], int]:
        """Return the addresses and the port to connect to."""
        url, proxy = request.url, request.proxy
        if proxy is not None:
            try:
                return await self._resolve(proxy.host, deadline, guarded=False), proxy.port
            except FetchError as error:
                raise blamed(error) from None
        host, port = self._rules.redirect(url.host, url.port) or (url.host, url.port)
        return await self._resolve(host, deadline, guarded=not self._allow_private), port

    async def _resolve(self, host: str, deadline: Deadline, *, guarded: bool) -> Sequence[str]:
        addresses = self._resolver.known(host)
        if addresses is None:
            addresses = await deadline.within(partial(self._resolver.resolve, host, deadline))
        if guarded:
            addresses = [address for address in addresses if is_public(address)]
            if not addresses:
                raise FetchError(Reason.BLOCKED_ADDRESS, "private or reserved address")
        return addresses

    async def _enter(self, context: FetchContext, since: float) -> None:
        """Wait until the path bears another connection; time from `since` on is given back."""
        gate = self._path.connections
        if not gate.try_enter():
            async with context.waiting:
                await gate.enter()
        context.deadline.extend(trio.current_time() - since)

    async def _fetch_issuer(self, url: Url, deadline: Deadline) -> bytes:
        """Get the certificate of an issuer, without a proxy and without redirects."""
        request, lease = Request(url), Budget(2 * MAX_ISSUER).lease()
        context = FetchContext(lease, deadline)
        stream = await self._connect(request, context)
        try:
            exchange = Exchange(stream, context, bytearray(MAX_HEAD))
            agent = write_headers({"User-Agent": self._user_agent.decode(), "Connection": "close"})
            head = await exchange.request(write_head(request, agent))
            if head.status != 200:
                raise FetchError(Reason.TLS_ERROR, INCOMPLETE)
            return bytes(await exchange.body(head, MAX_ISSUER))
        finally:
            stream.close()

    async def _open(
        self,
        request: Request,
        context: FetchContext,
        addresses: Sequence[str],
        port: int,
        helped: Helped | None,
    ) -> ByteStream:
        """Open a connection for which the path has been entered."""
        url, proxy, deadline = request.url, request.proxy, context.deadline
        if proxy is None:
            stream = await self._dial(addresses, port, deadline)
            context.on_connected()
        else:
            stream = await self._open_proxy(proxy, addresses, deadline)
        if url.scheme == "http":
            return stream
        try:
            if proxy is not None:
                await open_tunnel(stream, proxy, url, self._user_agent, context)
            tls = self._tls if helped is None else helped.context
            secured = await secure(stream, tls, url.host, deadline)
            if helped is not None:
                helped.check(secured.tls)
            return secured
        except BaseException:
            stream.close()
            raise

    async def _open_proxy(
        self, proxy: Proxy, addresses: Sequence[str], deadline: Deadline
    ) -> ByteStream:
        try:
            stream = await self._dial(addresses, proxy.port, deadline)
            if proxy.scheme == "http":
                return stream
            try:
                return await secure(stream, self._proxy_tls, proxy.host, deadline)
            except BaseException:
                stream.close()
                raise
        except FetchError as error:
            raise blamed(error) from None

    async def _dial(self, addresses: Sequence[str], port: int, deadline: Deadline) -> ByteStream:
        try:
            ordered = self._order.sort(addresses)
            sock = await connect_tcp(ordered, port, deadline, self._path)
        except BaseException:
            self._path.connections.leave()
            raise
        self._order.connected(ordered, sock.family)
        return ByteStream(sock, self._path.established())
