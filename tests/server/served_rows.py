"""Rows with captions whose URLs all give a good image, and the flags to download them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.server.good_image import good_image
from tests.server.sample_web import BackgroundWeb, links

IMAGES = 24
ROWS = [{"url": link.url, "caption": link.caption} for link in links(IMAGES)]


@contextmanager
def serve_rows(**flags: Any) -> Iterator[dict[str, Any]]:
    """Serve them. Yields flags, `flags` among them, that make three shards of the rows."""
    with BackgroundWeb([good_image()] * IMAGES) as address:
        yield {
            "connect_to": f"::{address}", "allow_private_addresses": True,
            "processes_count": 1, "number_sample_per_shard": 10, **flags,
        }  # fmt: skip
