"""What stands between the network and the app: headers of every answer, who may ask, how often.

ASGI middlewares around everything else, so that errors pass through them as well.
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

#: The page has no inline script or style and talks to nobody but this server; pictures may come
#: from anywhere, since that is what the data set is.
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

#: Clients whose use is remembered; the one that was silent longest is forgotten first.
MOST_CLIENTS = 10_000

#: A search is one unit; anything else is so much less work.
_SMALL = 0.02

#: Bits of an IPv6 address that one client is told by: a household has a /64.
_IPV6_CLIENT = 64


class SecurityHeaders:
    """Sets SECURITY_HEADERS on every answer that has none of that name."""

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
    """Refuses requests under names that are not this server's.

    A page elsewhere can point a name of its own at 127.0.0.1 and would then be of the same
    origin as this server (DNS rebinding). An address, written as one, cannot be rebound.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = {name.lower() for name in (*names, "localhost", socket.gethostname())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self.knows(Headers(scope=scope).get("host", "")):
            answer = error(400, "this server does not go by that name; see --allowed_hosts")
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def knows(self, host: str) -> bool:
        """Whether the Host header names this server."""
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") <= 1:
            name = name.partition(":")[0]
        return "*" in self._names or name in self._names or _is_address(name)


class SameSite:
    """Refuses what other sites' pages ask for behind a visitor's back; links are let through.

    Browsers say so in Sec-Fetch-Site (W3C Fetch Metadata); other clients do not send it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
            link = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
            if foreign and not link:
                await error(403, "requests from other sites' pages are refused")(
                    scope, receive, send
                )
                return
        await self._app(scope, receive, send)


class RateLimit:
    """Lets each client make so many searches a minute, in bursts of as many.

    Args:
        per_minute: searches; 0 for no limit.
        clock: seconds.
    """

    def __init__(
        self, app: ASGIApp, per_minute: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._most = float(per_minute)
        self._clock = clock
        #: For each client what it may still use, and when that was so.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._most:
            cost = 1.0 if scope["path"] == "/api/search" else _SMALL
            wait = self.take(client_key(scope), cost)
            if wait:
                answer = error(429, f"too many searches: go on in {wait} s")
                answer.headers["Retry-After"] = str(wait)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def take(self, client: str, cost: float) -> int:
        """Use up `cost`; 0, or the seconds after which there is enough again."""
        now = self._clock()
        left, since = self._left.pop(client, (self._most, now))
        left = min(self._most, left + (now - since) * self._most / 60)
        enough = left >= cost
        self._left[client] = (left - cost if enough else left, now)
        if len(self._left) > MOST_CLIENTS:
            self._left.popitem(last=False)
        return 0 if enough else math.ceil((cost - left) * 60 / self._most)


def client_key(scope: Scope) -> str:
    """What tells a client from others: its IPv4 address, or its network in IPv6."""
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return str(host)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_CLIENT), strict=False))


def error(status: int, message: str) -> JSONResponse:
    """How every refusal looks."""
    return JSONResponse({"error": message}, status)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
