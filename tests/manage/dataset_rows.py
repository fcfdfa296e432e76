"""The rows that the tests' datasets are made from, and how their web is reached."""

from __future__ import annotations

from functools import cache
from typing import Any

from tests.server.sample_web import Link, links

IMAGES, PER_SHARD = 30, 10


@cache
def rows() -> list[Link]:
    """30 good links and 5 broken ones: 404, 410, 403, 500 and a page in place of an image."""
    return list(links(IMAGES))


def network(address: str) -> dict[str, Any]:
    return {
        "connect_to": f"::{address}",
        "allow_private_addresses": True,
        "timeout": 300,
        "max_time": 300,
        "thread_count": 16,
    }
