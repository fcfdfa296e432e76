"""The protocol of a fetcher, one attempt at one URL, and the choice by name.

Retrying is the caller's: a pause must not hold a slot.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import trio

from img2ds.config.network import PROXY_FROM_ENVIRONMENT, PROXY_NONE
from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Failure, UsageError
from img2ds.core.sample import Fetched
from img2ds.net.budget import Lease
from img2ds.net.connector import Connector
from img2ds.net.error import FetchError
from img2ds.net.proxy import parse_proxy
from img2ds.net.resolver import Resolver, system_config
from img2ds.net.sockets import Deadline
from img2ds.net.trio_fetcher import TrioFetcher


class Fetcher(Protocol):
    """Gets bodies, within the limits of NetworkOptions. Use from one trio run."""

    async def fetch(self, url: str | None, lease: Lease) -> Fetched | Failure:
        """One attempt, redirects included. Body bytes are counted on `lease` as they arrive.

        Never raises for what a server or a URL does.
        """
        ...

    async def aclose(self) -> None:
        """Close idle connections."""
        ...


def check_proxy(options: NetworkOptions) -> None:
    """Whether the proxy that --proxy names is there: without it every row would fail. Blocks.

    Those of the environment are not looked for: a run may do without them.

    Raises:
        UsageError: no connection to it can be had.
    """
    if options.proxy in (PROXY_FROM_ENVIRONMENT, PROXY_NONE):
        return
    proxy = parse_proxy(options.proxy, "--proxy")

    async def look() -> None:
        resolver = Resolver(system_config(options.dns_servers), options.timeout)
        due = Deadline(options.timeout, options.max_time)
        (await Connector(options, resolver).connect_to_proxy(proxy, due)).close()

    try:
        with ThreadPoolExecutor(1) as thread:  # a notebook's main thread has a loop of its own
            thread.submit(trio.run, look).result()
    except FetchError as error:
        raise UsageError(
            f"--proxy: no connection to {proxy.host}, port {proxy.port} ({error.failure.message})"
        ) from None


def open_fetcher(options: NetworkOptions) -> Fetcher:
    """The fetcher called `options.fetcher`.

    Raises:
        UsageError: it is not installed, or an option cannot be used.
    """
    if options.fetcher == "trio":
        return TrioFetcher(options)
    try:
        from img2ds.net.asks_fetcher import AsksFetcher
    except ImportError as error:
        raise UsageError(
            f"--fetcher asks needs a package that is missing ({error.name}): "
            "pip install 'anyio>=4' h11 async_generator && pip install --no-deps asks"
        ) from None
    return AsksFetcher(options)
