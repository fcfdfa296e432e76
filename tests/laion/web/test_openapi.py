"""The OpenAPI document against the routes that there are, without a model."""

from __future__ import annotations

from typing import Any

from laion.web.app import api_routes
from laion.web.openapi import openapi_document
from laion.web.routes import Api


def test_every_route_is_in_the_document() -> None:
    service: Any = None  # no request is made
    routes = {
        (route.path, method.lower())
        for route in api_routes(Api(service, 1, "title"))
        for method in (route.methods or set()) - {"HEAD"}
    }
    documented = {
        (path, method)
        for path, methods in openapi_document("title")["paths"].items()
        for method in methods
    }
    assert documented == routes - {("/openapi.json", "get")}
