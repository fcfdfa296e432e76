"""The ASGI application: routes for the API and the page, inside the middlewares."""

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

from laion.web.middleware import (
    AllowedHosts,
    RateLimit,
    SameSite,
    SecurityHeaders,
    error_response,
)
from laion.web.routes import Api
from laion.web.service import Service

STATIC = Path(__file__).parent / "static"


def build_app(
    service: Service, max_upload: int, rate_limit: int, hosts: Sequence[str] = ()
) -> ASGIApp:
    """Build the application.

    Args:
        max_upload: bytes of an uploaded image, at most.
        rate_limit: searches a minute for each client; 0 for no limit.
        hosts: names of this server, besides addresses and localhost.
    """
    app = Starlette(
        routes=[
            Route("/", _page),
            Mount("/static", StaticFiles(directory=STATIC)),
            *api_routes(Api(service, max_upload)),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _internal_error},
    )
    limited = RateLimit(app, rate_limit)
    return SecurityHeaders(AllowedHosts(SameSite(limited), hosts))


def api_routes(api: Api) -> list[Route]:
    """Return the routes of the API, with its OpenAPI document."""
    return [
        Route("/openapi.json", api.openapi),
        Route("/api/health", api.health),
        Route("/api/search", api.search, methods=["GET"]),
        Route("/api/search", api.search_by_upload, methods=["POST"]),
        Route("/api/picture/{id}", api.image),
    ]


async def _page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


async def _http_error(request: Request, raised: Exception) -> Response:
    assert isinstance(raised, HTTPException)
    response = error_response(raised.status_code, raised.detail)
    response.headers.update(raised.headers or {})
    return response


async def _internal_error(request: Request, raised: Exception) -> Response:
    """Hide the traceback from clients; it is in the server's log."""
    return error_response(500, "internal error: see the server's log")
