"""Fetches one URL by img2ds's HTTP client, with img2dataset's arguments and results."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from typing import Any

import trio

from img2ds.config.options import NetworkOptions, Options
from img2ds.core.failure import Failure
from img2ds.core.sample import Fetched
from img2ds.net import robots
from img2ds.net.budget import Budget
from img2ds.net.context import FetchContext
from img2ds.net.fetcher import open_fetcher

#: The key, the body, and why there is none.
Downloaded = tuple[Any, io.BytesIO | None, str | None]


def is_disallowed(
    headers: Message, user_agent_token: str | None, disallowed_header_directives: Collection[str]
) -> bool:
    """Return whether a header X-Robots-Tag forbids the use of an image."""
    return any(
        robots.is_disallowed(value.encode(), user_agent_token, disallowed_header_directives)
        for value in headers.get_all("X-Robots-Tag", [])
    )


def download_image(
    row: tuple[Any, str],
    timeout: float,
    user_agent_token: str | None,
    disallowed_header_directives: Sequence[str] | None,
    ignore_ssl_certificate: bool = False,
) -> Downloaded:
    """Make one attempt at the URL of `row`, a key and a URL."""
    key, url = row
    flags = {
        "timeout": timeout,
        "user_agent_token": user_agent_token,
        "disallowed_header_directives": list(disallowed_header_directives or ()),
        "ignore_ssl_certificate": ignore_ssl_certificate,
    }
    options = Options.from_flags({"url_list": "-", **flags}).network
    with ThreadPoolExecutor(1) as thread:  # the caller's may have a loop of its own
        fetched = thread.submit(trio.run, _fetch, url, options).result()
    if isinstance(fetched, Failure):
        return key, None, fetched.error_message
    return key, io.BytesIO(fetched.body), None


async def _fetch(url: str, options: NetworkOptions) -> Fetched | Failure:
    fetcher = open_fetcher(options)
    try:
        with Budget(options.max_image_bytes).lease() as lease:
            return await fetcher.fetch(url, FetchContext.start(options, lease))
    finally:
        await fetcher.aclose()


def download_image_with_retry(
    row: tuple[Any, str],
    timeout: float,
    retries: int,
    user_agent_token: str | None,
    disallowed_header_directives: Sequence[str] | None,
    ignore_ssl_certificate: bool = False,
) -> Downloaded:
    """Make attempts at the URL of `row` until one succeeds, `retries` + 1 at most."""
    for _ in range(retries + 1):
        downloaded = download_image(
            row, timeout, user_agent_token, disallowed_header_directives, ignore_ssl_certificate
        )
        if downloaded[1] is not None:
            break
    return downloaded


def compute_key(key: int, shard_id: int, oom_sample_per_shard: int, oom_shard_count: int) -> str:
    """Return the key of row `key` of a shard of up to 10 ** `oom_sample_per_shard` rows."""
    number = shard_id * 10**oom_sample_per_shard + key
    return f"{number:0{oom_sample_per_shard + oom_shard_count}d}"
