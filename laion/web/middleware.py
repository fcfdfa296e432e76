"""ASGI middlewares of the search page: security headers, allowed hosts and origins, proxies.

They wrap the whole application, so that error responses pass through them as well.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from laion.web.client_address import TrustedProxies, parse_address
from laion.web.error_response import error_response

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
        return "*" in self._names or name in self._names or parse_address(name) is not None


class SameSite:
    """Rejects requests made by pages of other sites; following a link from there is allowed.

    Browsers tell by Sec-Fetch-Site (W3C Fetch Metadata); other clients do not send it. Pages of
    allowed origins may send requests and read the responses (CORS).

    Args:
        origins: allowed ones, as `parse_origin` returns them; `*` allows every origin.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str] = ()) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and not self._origins.isdisjoint((origin, "*")):
                await self._share(origin, scope, receive, send)
                return
            is_foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
            is_link = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
            if is_foreign and not is_link:
                response = error_response(403, "requests from pages of other sites are rejected")
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _share(self, origin: str, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Access-Control-Allow-Origin"] = origin
                headers["Cross-Origin-Resource-Policy"] = "cross-origin"
                headers.add_vary_header("Origin")
            await send(message)

        is_preflight = "access-control-request-method" in Headers(scope=scope)
        if scope["method"] == "OPTIONS" and is_preflight:
            allowed = {
                "Access-Control-Allow-Methods": "GET, POST",
                "Access-Control-Allow-Headers": "Content-Type",
            }
            await Response(status_code=204, headers=allowed)(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)


class ForwardedFor:
    """Sets the client of requests that come through trusted proxies."""

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("client"):
            peer, port = scope["client"]
            if self._proxies.trusts(peer):
                forwarded = Headers(scope=scope).getlist("x-forwarded-for")
                scope["client"] = (self._proxies.client(peer, forwarded), port)
        await self._app(scope, receive, send)
