"""One data set of shapes, served by the tiny model, for all tests of the web part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from laion.knn.query_embedder import QueryEmbedder
from laion.knn.query_image import query_network
from laion.knn.searcher import Searcher
from laion.web.app import build_app
from laion.web.service import Service, open_shard_images
from tests.laion.web.shape_dataset import ShapeSet, make_shapes

MAX_UPLOAD = 200_000
MAX_PIXELS = 1_000_000

#: Where picture URLs of tests lead to, so that nothing leaves this machine.
Make = Callable[..., TestClient]


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory, tiny_model: tuple[str, str]) -> ShapeSet:
    return make_shapes(tmp_path_factory.mktemp("shapes"), tiny_model)


@pytest.fixture(scope="session")
def embedder(shapes: ShapeSet) -> QueryEmbedder:
    return QueryEmbedder(Searcher(str(shapes.index)).description)


@pytest.fixture(scope="session")
def make_client(shapes: ShapeSet, embedder: QueryEmbedder) -> Make:
    """Build a client of an app; `connect_to` and `allow_private` say where picture URLs lead."""

    def make(
        rate_limit: int = 0,
        connect_to: tuple[str, ...] = ("::127.0.0.1:9",),
        allow_private: bool = False,
        **client: Any,
    ) -> TestClient:
        searcher = Searcher(str(shapes.index))
        pictures = open_shard_images(str(shapes.shards), searcher, lambda *_: None)
        network = query_network(MAX_UPLOAD, allow_private, connect_to)
        service = Service(searcher, embedder, pictures, network, MAX_PIXELS)
        app = build_app(service, MAX_UPLOAD, rate_limit, ("search.example",))
        return TestClient(app, base_url="http://127.0.0.1:1234", **client)

    return make


@pytest.fixture(scope="session")
def client(make_client: Make) -> TestClient:
    return make_client()
