"""The ASGI application: routes for the API and the page, inside the middlewares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from laion.web.batch_queue import Overloaded
from laion.web.client_address import TrustedProxies
from laion.web.client_limits import RateLimit, RequestsAtOnce
from laion.web.error_response import error_response
from laion.web.knn_routes import KnnApi
from laion.web.metrics import Metrics
from laion.web.middleware import AllowedHosts, ForwardedFor, SameSite, SecurityHeaders
from laion.web.page_files import PageFiles
from laion.web.routes import Api
from laion.web.service import Service


@dataclass(frozen=True, slots=True)
class AppLimits:
    """What clients may do.

    Attributes:
        max_upload: bytes of an uploaded image.
        rate_limit: searches a minute for each client; 0 for no limit.
        requests: of each client at once.
        hosts: names of this server, besides addresses and localhost.
        proxies: addresses and networks whose X-Forwarded-For is believed.
        origins: pages of other servers that may send requests.
    """

    max_upload: int
    rate_limit: int
    requests: int = 256
    hosts: Sequence[str] = ()
    proxies: Sequence[str] = ()
    origins: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class PageText:
    """What the operator says on the page: its name, and example queries; empty to choose some."""

    title: str = "laion search"
    examples: Sequence[str] = ()


def build_app(
    services: Mapping[str, Service], limits: AppLimits, text: PageText = PageText()
) -> ASGIApp:
    """Build the application.

    Args:
        services: by the name of their index. The page and its API serve the first one.
        text: of the page.

    Raises:
        UsageError: `limits.proxies` are not addresses.
    """
    page = PageFiles(text.title)
    first = next(iter(services.values()))
    api = Api(first, limits.max_upload, text.title, text.examples)
    metrics = Metrics({name: len(service.searcher) for name, service in services.items()})
    knn = KnnApi(services, metrics, limits.max_upload, api.images)
    app = Starlette(
        routes=[
            Route("/", page.index),
            Route("/api", page.api),
            Route("/static/{name}", page.file),
            *api_routes(api),
            *knn.routes(),
        ],
        exception_handlers={
            HTTPException: _http_error,
            Overloaded: _overloaded,
            Exception: _internal_error,
        },
    )
    limited = RateLimit(RequestsAtOnce(app, limits.requests), limits.rate_limit)
    known = ForwardedFor(limited, TrustedProxies(limits.proxies))
    return SecurityHeaders(AllowedHosts(SameSite(known, limits.origins), limits.hosts))


def api_routes(api: Api) -> list[Route]:
    """Return the routes of the API, with its OpenAPI document."""
    return [
        Route("/openapi.json", api.openapi),
        Route("/api/health", api.health),
        Route("/api/search", api.search, methods=["GET"]),
        Route("/api/search", api.search_by_upload, methods=["POST"]),
        Route("/api/picture/{id}", api.image),
        Route("/api/row/{id}", api.row),
        Route("/api/examples", api.examples),
    ]


async def _http_error(request: Request, raised: Exception) -> Response:
    assert isinstance(raised, HTTPException)
    response = error_response(raised.status_code, raised.detail)
    response.headers.update(raised.headers or {})
    return response


async def _overloaded(request: Request, raised: Exception) -> Response:
    assert isinstance(raised, Overloaded)
    return error_response(503, f"the server is busy: {raised}", raised.retry_after)


async def _internal_error(request: Request, raised: Exception) -> Response:
    """Hide the traceback from clients; it is in the server's log."""
    return error_response(500, "internal error: see the server's log")
