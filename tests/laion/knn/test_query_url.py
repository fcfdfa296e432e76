"""Images to ask with are fetched under the guard, which a proxy would get around."""

from __future__ import annotations

import pytest

from laion.knn.query_image import QueryImageError
from laion.knn.query_url import fetch_image, query_network
from tests.server.good_image import good_image
from tests.server.sample_web import BackgroundWeb


def test_the_environments_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with BackgroundWeb([good_image()]) as address:
        url = f"http://{address}/photo/0.jpg"
        assert fetch_image(url, query_network(allow_private=True)) == good_image()
        with pytest.raises(QueryImageError, match="blocked_address"):
            fetch_image(url, query_network())
