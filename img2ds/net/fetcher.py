"""The protocol of a fetcher, which makes one attempt at one URL, and how one is put together.

A retry is the caller's business: a pause must not hold a slot.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import trio

from img2ds.config.network import FETCHERS
from img2ds.config.options import NetworkOptions
from img2ds.congestion.dns_names import DnsNames
from img2ds.congestion.machine import Machine
from img2ds.congestion.path import NetworkPath
from img2ds.core.failure import Failure, UsageError
from img2ds.core.sample import Fetched
from img2ds.net.client import Client, PoolingClient
from img2ds.net.connector import Connector
from img2ds.net.context import FetchContext
from img2ds.net.deadline import Deadline
from img2ds.net.dns_config import system_config
from img2ds.net.plugin_fetcher import PluginFetcher
from img2ds.net.proxies import Proxy
from img2ds.net.redirects import RedirectingFetcher
from img2ds.net.resolver import Resolver
from img2ds.net.routes import Routes
from img2ds.net.url import Url


class Fetcher(Protocol):
    """Gets bodies, within the limits of NetworkOptions. Use from one trio run."""

    async def fetch(self, url: str | None, context: FetchContext) -> Fetched | Failure:
        """Make one attempt, redirects included.

        Failures of the server or the URL are returned, never raised.
        """
        ...

    async def aclose(self) -> None:
        """Close idle connections."""
        ...


def open_fetcher(
    options: NetworkOptions,
    resolver: Resolver | None = None,
    path: NetworkPath | None = None,
    judge: Callable[[Url], Failure | None] | None = None,
    token: str | None = None,
) -> Fetcher:
    """Return the fetcher called `options.fetcher`.

    Args:
        resolver: resolves host names; by default as the options say.
        path: what this worker shares with others of its machine; by default nothing.
        judge: returns why a URL, of a redirect too, may not be requested; None if it may. Fetchers
            of plug-ins are not asked.
        token: of the files that the workers of this machine share; None for a worker alone.

    Raises:
        UsageError: it is not installed, or an option cannot be used.
    """
    if options.fetcher not in FETCHERS:
        return PluginFetcher(options)
    path = path or NetworkPath(Machine())
    connector = _connector(options, resolver, path)
    client: Client
    if options.fetcher == "trio":
        client = PoolingClient(connector, options, path)
    else:
        try:
            from img2ds.net.asks_client import AsksClient
        except ImportError as error:
            raise UsageError(
                f"--fetcher asks needs the package {error.name}: "
                "pip install 'anyio>=4' h11 async_generator && pip install --no-deps asks"
            ) from None
        client = AsksClient(connector, options)
    store = None
    if options.respect_robots:
        from img2ds.net.robots_store import RobotsStore  # and SQLite

        store = RobotsStore(token)
    return RedirectingFetcher(client, Routes(options), options, judge, store)


def open_resolver(
    options: NetworkOptions, machine: Machine | None = None, names: DnsNames | None = None
) -> Resolver:
    """Return the resolver that the options ask for.

    Args:
        machine: counts and limits the questions; None for a worker alone.
        names: the answers that the machine's workers share.
    """
    config = system_config(options.dns_servers)
    return Resolver(config, options.timeout, machine=machine, names=names)


def _connector(options: NetworkOptions, resolver: Resolver | None, path: NetworkPath) -> Connector:
    return Connector(options, resolver or open_resolver(options), path)


def connect_to_proxy(options: NetworkOptions, proxy: Proxy) -> None:
    """Open a connection to a proxy, and close it. Blocks. Raises FetchError."""

    async def connect() -> None:
        deadline = Deadline(options.timeout, options.max_time)
        connector = _connector(options, None, NetworkPath(Machine()))
        (await connector.connect_to_proxy(proxy, deadline)).close()

    with ThreadPoolExecutor(1) as thread:  # a notebook's main thread has a loop of its own
        thread.submit(trio.run, connect).result()
