"""`laion serve`: serve the search page of an index folder until Ctrl-C."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from img2ds.core.failure import UsageError
from laion.knn.query_embedder import QueryEmbedder
from laion.knn.query_image import query_network
from laion.knn.searcher import Searcher
from laion.web.options import ServeOptions

#: Connections at once; further ones get status 503.
CONNECTIONS = 512


@dataclass(frozen=True, slots=True)
class ServeResult:
    """The outcome of serving, which ends only when it is stopped."""

    text: str = ""
    exit_code: int = 0


def run(options: ServeOptions, ready: Callable[[str], None] | None = None) -> ServeResult:
    """Serve until Ctrl-C.

    Args:
        ready: called with the address once the server listens.

    Raises:
        UsageError: the index, the model, the shards or the port cannot be used.
    """
    try:
        import uvicorn

        from laion.web.app import build_app
        from laion.web.service import Service, open_shard_images
    except ModuleNotFoundError as error:
        raise UsageError(
            f"laion serve needs the package {error.name}: pip install 'img2ds[laion]'"
        ) from None
    searcher = Searcher(options.index)
    images = None
    if options.shards is not None:
        images = open_shard_images(options.shards, searcher, _report)
    listener = _listen(options)
    embedder = QueryEmbedder(searcher.description, options.model, options.pretrained)
    network = query_network(options.max_upload_bytes, options.allow_private_addresses)
    service = Service(searcher, embedder, images, network, options.max_pixels)
    app = build_app(
        service,
        options.max_upload_bytes,
        options.rate_limit,
        (options.host, *options.allowed_hosts),
    )
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=options.behind_proxy,
        forwarded_allow_ips="127.0.0.1",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=3,
    )
    shown = f"[{options.host}]" if ":" in options.host else options.host
    address = f"http://{shown}:{listener.getsockname()[1]}"
    kinds = " and ".join(searcher.kinds)
    print(f"{len(searcher):,} rows, {kinds} index: {address} (Ctrl-C to stop)", flush=True)
    with listener:
        _serve(uvicorn.Server(config), listener, address, ready)
    return ServeResult()


def _serve(
    server: Any, listener: socket.socket, address: str, ready: Callable[[str], None] | None
) -> None:
    if ready is not None:
        ready(address)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn raises it again after shutting down
        return


def _listen(options: ServeOptions) -> socket.socket:
    """Bind the port, before the model is loaded: a used port is reported without that delay."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0].lower()
        raise UsageError(
            f"cannot listen on {options.host} port {options.port} ({reason}): choose another --port"
        ) from None


def _report(done: int, count: int) -> None:
    if done == count or done % 100 == 0:
        print(f"images: {done} of {count} shards scanned", file=sys.stderr, flush=True)
