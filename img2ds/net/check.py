"""Checks of a run's options of the network, before any work starts.

The parent of workers makes no request itself. It need not import what does, nor open a TLS context:
0.2 s of CPU.
"""

from __future__ import annotations

import os

from img2ds.config.network import FETCHERS, PROXY_FROM_ENVIRONMENT, PROXY_NONE
from img2ds.config.options import NetworkOptions
from img2ds.core.failure import UsageError
from img2ds.net.dns_config import system_config
from img2ds.net.error import FetchError
from img2ds.net.proxies import parse_proxy
from img2ds.net.routes import Routes
from img2ds.net.tls_context import open_context


def check_fetcher(options: NetworkOptions) -> None:
    """Raise UsageError when `open_fetcher` would: an option, or what is installed, is wrong."""
    if options.fetcher != FETCHERS[0]:
        from img2ds.net.fetcher import open_fetcher

        open_fetcher(options)  # by another package, which may be missing
        return
    Routes(options)
    system_config(options.dns_servers)
    if options.ca_bundle is not None or "SSLKEYLOGFILE" in os.environ:  # else nothing can fail
        open_context(options)


def check_proxy(options: NetworkOptions) -> None:
    """Check that the proxy given with --proxy can be reached: else every row would fail. Blocks.

    Proxies of the environment are not checked: a run may do without them.

    Raises:
        UsageError: no connection to it can be opened.
    """
    if options.proxy in (PROXY_FROM_ENVIRONMENT, PROXY_NONE):
        return
    from img2ds.net.fetcher import connect_to_proxy

    proxy = parse_proxy(options.proxy, "--proxy")
    try:
        connect_to_proxy(options, proxy)
    except FetchError as error:
        raise UsageError(
            f"--proxy: no connection to {proxy.host}, port {proxy.port} ({error.failure.message})"
        ) from None
