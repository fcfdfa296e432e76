"""From an origin to an open connection: which way, where to connect, address guard, TCP, TLS.

TCP follows happy eyeballs (RFC 8305): the next address is tried when one fails, or has not
answered for a quarter of a second. With one address, or a quick one, that costs nothing.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import certifi
import trio

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Reason, UsageError
from img2ds.net.address import is_literal, is_public, is_public_name
from img2ds.net.connection import Connection, NestedTlsConnection, TlsConnection
from img2ds.net.error import FetchError
from img2ds.net.proxy import Proxy, blamed, read_rules
from img2ds.net.request import user_agent
from img2ds.net.resolver import Resolver
from img2ds.net.sockets import Deadline
from img2ds.net.tunnel import open_tunnel
from img2ds.net.url import Url

#: Seconds before the next address is tried beside a silent one (RFC 8305 5).
HEAD_START = 0.25
#: Addresses of one name that are tried; a name server may give thousands, a socket each.
MAX_ADDRESSES = 8

_MEMORY_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
#: EADDRNOTAVAIL on connect means that this machine has run out of local ports.
_LOCAL_ERRORS = (*_MEMORY_ERRORS, errno.EADDRNOTAVAIL)


@dataclass(frozen=True, slots=True)
class ConnectRule:
    """curl's --connect-to: an empty or `*` part of the pattern matches all, an empty target
    part keeps what was asked for."""

    host: str
    port: str
    to_host: str
    to_port: str

    @classmethod
    def parse(cls, text: str) -> ConnectRule:
        """Read HOST:PORT:ADDR:PORT, IPv6 literals in brackets.

        Raises:
            UsageError: it has not this form.
        """
        parts: list[str] = []
        rest = text
        for _ in range(4):
            if rest.startswith("["):
                part, _, rest = rest[1:].partition("]")
                rest = rest.removeprefix(":")
            else:
                part, _, rest = rest.partition(":")
            parts.append(part)
        host, port, to_host, to_port = parts
        numbers = [p for p in (port.replace("*", ""), to_port) if p]
        if rest or not all(p.isdigit() and 0 < int(p) < 65536 for p in numbers):
            raise UsageError(f"--connect_to: {text!r} is not HOST:PORT:ADDR:PORT")
        return cls(host.lower().replace("*", ""), port.replace("*", ""), to_host, to_port)

    def applies(self, host: str, port: int) -> bool:
        return self.host in ("", host) and self.port in ("", str(port))


def open_context(options: NetworkOptions) -> ssl.SSLContext:
    """The one TLS context of a process; making one costs as much as a hundred handshakes.

    Trust comes from `ca_bundle`, else from SSL_CERT_FILE, SSL_CERT_DIR and the system's store,
    else, on a system without one, from certifi.

    Raises:
        UsageError: `ca_bundle` is no PEM file of certificates.
    """
    try:
        context = ssl.create_default_context(cafile=options.ca_bundle)
    except (ssl.SSLError, OSError) as error:
        raise UsageError(
            f"--ca_bundle {options.ca_bundle}: not PEM certificates ({error})"
        ) from None
    paths = ssl.get_default_verify_paths()
    if options.ca_bundle is None and not (paths.cafile or paths.capath):
        context.load_verify_locations(certifi.where())
    if options.ignore_ssl_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    if keylog := os.environ.get("SSLKEYLOGFILE"):
        context.keylog_filename = keylog
    return context


class Connector:
    """Opens connections to origins; every address connected to has passed the guard.

    A proxy's own address alone has not: whoever runs img2ds named it. Names of URLs that go
    through one are looked up by the proxy, so the guard sees what the URL says and no more.

    Raises:
        UsageError: an option, or a proxy of the environment, cannot be used.
    """

    def __init__(self, options: NetworkOptions, resolver: Resolver) -> None:
        self._resolver = resolver
        self._rules = [ConnectRule.parse(text) for text in options.connect_to]
        self._allow_private = options.allow_private_addresses
        self._context = self._proxy_context = open_context(options)
        if options.ignore_ssl_certificate:  # the images', not that of who gets our password
            self._proxy_context = open_context(replace(options, ignore_ssl_certificate=False))
        self._proxies = read_rules(options.proxy, os.environ)
        self._user_agent = user_agent(options).encode()

    def route(self, url: Url) -> Proxy | None:
        """The proxy that `url` goes through, None when it is asked directly.

        What a --connect_to rule leads elsewhere is asked directly: the rule says where.

        Raises:
            FetchError: blocked_address, when the URL itself says that it leads inside.
        """
        if self._proxies is None:
            return None
        proxy = self._proxies.choose(url)
        if proxy is None or self._rule(url.host, url.port) is not None:
            return None
        if not self._allow_private:
            public = is_public(url.host) if is_literal(url.host) else is_public_name(url.host)
            if not public:
                raise FetchError(Reason.BLOCKED_ADDRESS, "private or reserved address")
        return proxy

    async def connect(self, url: Url, due: Deadline, proxy: Proxy | None = None) -> Connection:
        """A new connection for `url`, after TLS where its scheme asks for it.

        With a `proxy` it is one to the proxy, which passes on what is sent under TLS and has to
        be told the whole URL without.

        Raises:
            FetchError: any of the DNS, connect, blocked_address, tls_error and local reasons;
                proxy_error, and http_NNN when the proxy cannot reach the host.
        """
        if proxy is None:
            connection = Connection(await self.connect_tcp(url.host, url.port, due))
        else:
            connection = await self.connect_to_proxy(proxy, due)
        if url.scheme == "http":
            return connection
        try:
            if proxy is not None:
                await open_tunnel(connection, proxy, url, self._user_agent, due)
            return await _secured(connection, self._context, url.host, due)
        except BaseException:
            connection.close()
            raise

    async def connect_to_proxy(self, proxy: Proxy, due: Deadline) -> Connection:
        """A connection to the proxy itself, after TLS where it speaks that.

        Raises:
            FetchError: proxy_error, max_time or no_descriptors.
        """
        try:
            connection = Connection(await self._open(proxy.host, proxy.port, due, guarded=False))
            if proxy.scheme == "http":
                return connection
            try:
                return await _secured(connection, self._proxy_context, proxy.host, due)
            except BaseException:
                connection.close()
                raise
        except FetchError as error:
            raise blamed(error) from None

    def _rule(self, host: str, port: int) -> ConnectRule | None:
        return next((rule for rule in self._rules if rule.applies(host, port)), None)

    async def connect_tcp(self, host: str, port: int, due: Deadline) -> socket.socket:
        """A connected non-blocking socket. Raises as `connect`."""
        rule = self._rule(host, port)
        if rule is not None:
            host, port = rule.to_host or host, int(rule.to_port or port)
        return await self._open(host, port, due, guarded=not self._allow_private)

    async def _open(self, host: str, port: int, due: Deadline, *, guarded: bool) -> socket.socket:
        addresses: Sequence[str] = await due.within(partial(self._resolver.resolve, host))
        if guarded:
            addresses = [address for address in addresses if is_public(address)]
            if not addresses:
                raise FetchError(Reason.BLOCKED_ADDRESS, "private or reserved address")
        if len(addresses) == 1:
            return await _Attempt(addresses[0], port).finish(due)
        return await _race(addresses[:MAX_ADDRESSES], port, due)


async def _secured(
    connection: Connection, context: ssl.SSLContext, host: str, due: Deadline
) -> TlsConnection:
    """`connection` under TLS, with the certificate verified for `host`."""
    name = host.rstrip(".")  # as certificates have it (RFC 9525 6.3)
    try:
        if isinstance(connection, TlsConnection):
            secured: TlsConnection = NestedTlsConnection(connection, context, name)
        else:
            secured = TlsConnection(connection.sock, context, name)
    except UnicodeError:  # a label that is too long, where nobody looked the name up
        raise FetchError(Reason.BAD_URL, "bad host") from None
    await secured.handshake(due)
    return secured


class _Attempt:
    """One connect() under way."""

    def __init__(self, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self.sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            raise _connect_error(error.errno) from None
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._code = self.sock.connect_ex((address, port))
        except BaseException:
            self.sock.close()
            raise

    async def finish(self, due: Deadline) -> socket.socket:
        """The connected socket; closes it when there is an error."""
        try:
            if self._code == errno.EINPROGRESS:
                await due.wait(
                    trio.lowlevel.wait_writable,
                    self.sock,
                    Reason.CONNECT_TIMEOUT,
                    "no answer to the connection attempt",
                )
                self._code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if self._code:
                raise _connect_error(self._code)
        except BaseException:
            self.sock.close()
            raise
        return self.sock


async def _race(addresses: Sequence[str], port: int, due: Deadline) -> socket.socket:
    """The first of several addresses to answer; the last error when none does."""
    won: list[socket.socket] = []
    error: FetchError | None = None

    async def attempt(address: str, failed: trio.Event, nursery: trio.Nursery) -> None:
        nonlocal error
        try:
            sock = await _Attempt(address, port).finish(due)
        except FetchError as fault:
            error = fault
            failed.set()
            return
        if won:
            sock.close()
        else:
            won.append(sock)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for address in addresses:
            failed = trio.Event()
            nursery.start_soon(attempt, address, failed, nursery)
            with trio.move_on_after(HEAD_START):
                await failed.wait()
    if won:
        return won[0]
    assert error is not None
    raise error


def _connect_error(code: int | None) -> FetchError:
    if code == errno.ECONNREFUSED:
        return FetchError(Reason.CONNECT_REFUSED, "connection refused")
    if code == errno.ETIMEDOUT:
        return FetchError(Reason.CONNECT_TIMEOUT, "no answer to the connection attempt")
    if code in (errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE):
        return FetchError(Reason.CONNECT_RESET, "connection reset")
    if code in _LOCAL_ERRORS:
        words = "too many open files" if code in (errno.EMFILE, errno.ENFILE) else os.strerror(code)
        return FetchError(Reason.NO_DESCRIPTORS, words.lower())
    return FetchError(Reason.CONNECT_REFUSED, f"cannot connect: {os.strerror(code or 0).lower()}")
