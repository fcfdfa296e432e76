"""One dataset of shapes, and an app that serves it with the tiny model, for all web tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.testclient import TestClient

from laion.knn.query_embedder import QueryEmbedder
from laion.knn.query_url import query_network
from laion.knn.searcher import Searcher
from laion.web.app import AppLimits, build_app
from laion.web.decoder_pool import DecoderPool
from laion.web.decoder_process import DecodeLimits
from laion.web.query_vectors import QueryVectors
from laion.web.service import Service, open_shard_images
from tests.laion.web.browser import serving
from tests.laion.web.shape_dataset import ShapeSet, make_shapes

MAX_UPLOAD = 200_000
MAX_PIXELS = 1_000_000

Make = Callable[..., TestClient]


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory, tiny_model: tuple[str, str]) -> ShapeSet:
    return make_shapes(tmp_path_factory.mktemp("shapes"), tiny_model)


@pytest.fixture(scope="session")
def embedder(shapes: ShapeSet) -> QueryEmbedder:
    return QueryEmbedder(Searcher(str(shapes.index)).description)


@pytest.fixture(scope="session")
def make_client(shapes: ShapeSet, embedder: QueryEmbedder) -> Iterator[Make]:
    """Build a client of an app; `connect_to` and `allow_private` apply to image URLs in queries."""

    def make(
        rate_limit: int = 0,
        connect_to: tuple[str, ...] = ("::127.0.0.1:9",),
        allow_private: bool = False,
        proxies: tuple[str, ...] = (),
        origins: tuple[str, ...] = (),
        **client: Any,
    ) -> TestClient:
        searcher = Searcher(str(shapes.index))
        images = open_shard_images(str(shapes.shards), searcher, lambda *_: None)
        network = query_network(MAX_UPLOAD, allow_private, connect_to)
        decoders = DecoderPool(embedder.preprocess, DecodeLimits(MAX_PIXELS, 5.0), processes=1)
        vectors = QueryVectors(embedder, decoders, network)
        service = Service(searcher, vectors, images, embedder.model)
        services.callback(service.close)
        limits = AppLimits(
            MAX_UPLOAD, rate_limit, hosts=("search.example",), proxies=proxies, origins=origins
        )
        return TestClient(
            build_app({"shapes": service}, limits), base_url="http://127.0.0.1:1234", **client
        )

    with ExitStack() as services:
        yield make


@pytest.fixture(scope="session")
def address(shapes: ShapeSet) -> Iterator[str]:
    """The address of a real `laion serve`."""
    with serving(shapes.index, "--shards", str(shapes.shards)) as address:
        yield address


@pytest.fixture(scope="session")
def client(make_client: Make) -> TestClient:
    return make_client()
