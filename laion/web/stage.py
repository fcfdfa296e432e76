"""`laion serve`: opens an index folder and serves the page until it is stopped."""

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

#: Connections at once; more are told to come again.
CONNECTIONS = 512


@dataclass(frozen=True, slots=True)
class ServeResult:
    """The server was stopped, which is how it ends."""

    text: str = ""
    exit_code: int = 0


def run(options: ServeOptions, ready: Callable[[str], None] | None = None) -> ServeResult:
    """Serve until Ctrl-C.

    Args:
        ready: called with the address once requests are answered.

    Raises:
        UsageError: the index, the model, the shards or the port cannot be used.
    """
    try:
        import uvicorn

        from laion.web.app import build_app
        from laion.web.service import Service, open_shard_images
    except ModuleNotFoundError as error:
        raise UsageError(
            f"laion serve needs {error.name}, which is not installed: pip install 'img2ds[laion]'"
        ) from None
    searcher = Searcher(options.index)
    pictures = None
    if options.shards is not None:
        pictures = open_shard_images(options.shards, searcher, _tell)
    listener = _listen(options)
    embedder = QueryEmbedder(searcher.description, options.model, options.pretrained)
    network = query_network(options.max_upload_bytes, options.allow_private_addresses)
    service = Service(searcher, embedder, pictures, network, options.max_pixels)
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
    rows = f"{len(searcher):,}".replace(",", " ")
    print(f"{rows} rows, {' and '.join(searcher.kinds)} index: {address} (Ctrl-C ends)", flush=True)
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
    except KeyboardInterrupt:  # uvicorn passes it on once it has shut down
        return


def _listen(options: ServeOptions) -> socket.socket:
    """The port is taken before the model is loaded: that takes seconds, and may be in vain."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        words = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0].lower()
        raise UsageError(
            f"cannot listen on {options.host} port {options.port} ({words}): choose another --port"
        ) from None


def _tell(done: int, count: int) -> None:
    if done == count or done % 100 == 0:
        print(f"pictures: {done} of {count} shards looked through", file=sys.stderr, flush=True)
