"""An image to search by that is at a URL: fetched under img2ds's guards."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from img2ds.config.network import PROXY_NONE, NetworkOptions
from img2ds.core.failure import Failure
from img2ds.net.budget import Budget
from img2ds.net.context import FetchContext
from img2ds.net.fetcher import open_fetcher
from laion.knn.query_image import MAX_BYTES, QueryImageError

#: Seconds that fetching an image may take in all.
MAX_TIME = 10.0


def query_network(
    max_bytes: int = MAX_BYTES, allow_private: bool = False, connect_to: Sequence[str] = ()
) -> NetworkOptions:
    """Network options for fetching images to search by: limited, and from public addresses only."""
    return NetworkOptions(
        timeout=5.0,
        max_time=MAX_TIME,
        max_image_bytes=max_bytes,
        disallowed_header_directives=(),  # the image is not stored
        allow_private_addresses=allow_private,
        connect_to=tuple(connect_to),
        # URLs are untrusted, and the address check cannot see what a proxy resolves.
        proxy=PROXY_NONE,
    )


def fetch_image(url: str, options: NetworkOptions) -> bytes:
    """Fetch the body at `url`. Blocks; starts its own event loop, so call it outside of any.

    Raises:
        QueryImageError: it cannot be fetched.
    """

    async def fetch() -> bytes:
        fetcher = open_fetcher(options)
        try:
            with Budget(options.max_image_bytes).lease() as lease:
                got = await fetcher.fetch(url, FetchContext.start(options, lease))
        finally:
            await fetcher.aclose()
        if isinstance(got, Failure):
            raise QueryImageError(f"{got.message} ({got.reason})", got.reason)
        return bytes(got.body)

    return trio.run(fetch)
