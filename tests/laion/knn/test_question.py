"""Pictures to ask with are fetched under the guard, which a proxy would get around."""

from __future__ import annotations

import pytest

from laion.knn.question import BadPicture, fetch_picture, picture_network
from tests.server.pictures import picture
from tests.server.sample_web import BackgroundWeb


def test_the_environments_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with BackgroundWeb([picture()]) as address:
        url = f"http://{address}/photo/0.jpg"
        assert fetch_picture(url, picture_network(allow_private=True)) == picture()
        with pytest.raises(BadPicture, match="blocked_address"):
            fetch_picture(url, picture_network())
