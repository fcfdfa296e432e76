"""The ASGI application: the API, the page, and the guards around both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from laion.web.middleware import AllowedHosts, RateLimit, SameSite, SecurityHeaders, error
from laion.web.routes import Api
from laion.web.service import Service

STATIC = Path(__file__).parent / "static"


def build_app(
    service: Service, max_upload: int, rate_limit: int, hosts: Sequence[str] = ()
) -> ASGIApp:
    """The whole application.

    Args:
        max_upload: bytes of a picture to ask with.
        rate_limit: searches a minute of one client, 0 for no limit.
        hosts: names that this server is reached by, besides addresses and localhost.
    """
    api = Api(service, max_upload)
    app = Starlette(
        routes=[
            Route("/", _page),
            Route("/openapi.json", api.openapi),
            Route("/api/health", api.health),
            Route("/api/search", api.search, methods=["GET"]),
            Route("/api/search", api.search_by_upload, methods=["POST"]),
            Route("/api/picture/{id}", api.picture),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={HTTPException: _refused, Exception: _broken},
    )
    limited = RateLimit(app, rate_limit)
    return SecurityHeaders(AllowedHosts(SameSite(limited), hosts))


async def _page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


async def _refused(request: Request, raised: Exception) -> Response:
    assert isinstance(raised, HTTPException)
    answer = error(raised.status_code, raised.detail)
    answer.headers.update(raised.headers or {})
    return answer


async def _broken(request: Request, raised: Exception) -> Response:
    """The server's log has the trace; the client gets a word."""
    return error(500, "something broke on the server; its log says what")
