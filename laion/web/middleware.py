"""ASGI middlewares of the search page: security headers, allowed hosts and origins, rate limit.

They wrap the whole application, so that error responses pass through them as well.
"""

from __future__ import annotations

import ipaddress
import math
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The page has no inline scripts or styles and connects to this server only. Images may come from
#: anywhere, because the dataset's URLs do.
PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' blob: http: https:",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

SECURITY_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

#: Clients whose use is remembered; the least recently active is forgotten first.
MAX_CLIENTS = 10_000

#: Cost of a request that is not a search, in searches.
_OTHER_COST = 0.02

#: Prefix length that identifies an IPv6 client: a household has a /64.
_IPV6_PREFIX = 64


class SecurityHeaders:
    """Adds SECURITY_HEADERS to every response; a header that is already set is kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class AllowedHosts:
    """Rejects requests whose Host header does not name this server.

    This prevents DNS rebinding: a page elsewhere could point its own name at 127.0.0.1 and would
    then have the same origin as this server. A literal IP address cannot be rebound.

    Args:
        names: host names of this server; `*` allows every name.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = {name.lower() for name in (*names, "localhost", socket.gethostname())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self.allows(Headers(scope=scope).get("host", "")):
            response = error_response(
                400, "this host name is not allowed: add it with --allowed_hosts"
            )
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def allows(self, host: str) -> bool:
        """Return whether a Host header names this server."""
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") <= 1:
            name = name.partition(":")[0]
        return "*" in self._names or name in self._names or _is_address(name)


class SameSite:
    """Rejects requests made by pages of other sites; following a link from there is allowed.

    Browsers tell by Sec-Fetch-Site (W3C Fetch Metadata); other clients do not send it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            is_foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
            is_link = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
            if is_foreign and not is_link:
                response = error_response(403, "requests from pages of other sites are rejected")
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


class RateLimit:
    """Limits the searches of each client with a token bucket of one minute's searches.

    Args:
        per_minute: searches; 0 for no limit.
        clock: the time in seconds.
    """

    def __init__(
        self, app: ASGIApp, per_minute: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._capacity = float(per_minute)
        self._clock = clock
        #: For each client the tokens left, and when that was counted.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._capacity:
            cost = 1.0 if scope["path"] == "/api/search" else _OTHER_COST
            wait = self.take(client_key(scope), cost)
            if wait:
                response = error_response(429, f"too many searches: try again in {wait} s")
                response.headers["Retry-After"] = str(wait)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def take(self, client: str, cost: float) -> int:
        """Take `cost` tokens. Returns 0, or if there are too few, the seconds until there are."""
        now = self._clock()
        tokens, since = self._buckets.pop(client, (self._capacity, now))
        tokens = min(self._capacity, tokens + (now - since) * self._capacity / 60)
        is_enough = tokens >= cost
        self._buckets[client] = (tokens - cost if is_enough else tokens, now)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0 if is_enough else math.ceil((cost - tokens) * 60 / self._capacity)


def client_key(scope: Scope) -> str:
    """Return what identifies a client: its IPv4 address, or its IPv6 network."""
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return str(host)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))


def error_response(status: int, message: str) -> JSONResponse:
    """Build the JSON body that every error has."""
    return JSONResponse({"error": message}, status)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
