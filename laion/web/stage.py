"""`laion serve`: serve the search page of an index folder until Ctrl-C."""

from __future__ import annotations

import gc
import resource
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from img2ds.core.failure import UsageError
from img2ds.engine.cores import usable_cores
from laion.knn.query_embedder import QueryEmbedder
from laion.knn.query_url import query_network
from laion.knn.searcher import Searcher
from laion.web.client_address import TrustedProxies
from laion.web.connection_table import ConnectionLimits
from laion.web.options import ServeOptions

if TYPE_CHECKING:
    from laion.web.query_vectors import QueryVectors
    from laion.web.service import Service

#: Open files besides connections: the index, shards that are read, images that are received.
_OTHER_FILES = 256


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
        from laion.web.app import AppLimits, PageText, build_app
        from laion.web.guarded_protocol import ConnectionGuard, build_server
    except ModuleNotFoundError as error:
        raise UsageError(
            f"laion serve needs the package {error.name}: pip install 'img2ds[laion]'"
        ) from None
    connections = allowed_connections(options.max_connections)
    searchers = {name: Searcher(folder) for name, folder in options.indices.items()}
    listener = _listen(options)
    services = _services(options, searchers)
    limits = AppLimits(
        options.max_upload_bytes,
        options.rate_limit,
        options.max_client_connections,
        (options.host, *options.allowed_hosts),
        options.proxies,
        options.origins,
    )
    guard = ConnectionGuard(
        ConnectionLimits(connections, options.max_client_connections),
        TrustedProxies(options.proxies),
    )
    shown = f"[{options.host}]" if ":" in options.host else options.host
    address = f"http://{shown}:{listener.getsockname()[1]}"
    print(f"{_described(searchers)}: {address} (Ctrl-C to stop)", flush=True)
    # What is loaded stays: collecting garbage takes a hundredth of the time without looking at it.
    gc.collect()
    gc.freeze()
    with listener, ExitStack() as stack:
        for service in services.values():
            stack.callback(service.close)
        app = build_app(services, limits, PageText(options.title, options.examples))
        _serve(build_server(app, guard), listener, address, ready)
    return ServeResult()


def _described(searchers: Mapping[str, Searcher]) -> str:
    if len(searchers) > 1:
        return ", ".join(f"{name}: {len(each):,} rows" for name, each in searchers.items())
    (searcher,) = searchers.values()
    return f"{len(searcher):,} rows, {' and '.join(searcher.kinds)} index"


def _services(options: ServeOptions, searchers: Mapping[str, Searcher]) -> dict[str, Service]:
    """Open the images of each index, load each model once, and start processes that decode.

    One core is left to the event loop. Decoders may use half of them: their priority is low.
    """
    from laion.web.service import Service, open_shard_images

    cores = usable_cores()
    vectors: dict[tuple[str | None, str | None, int], tuple[QueryVectors, str]] = {}
    services = {}
    for name, searcher in searchers.items():
        images = None
        if name in options.image_folders:
            images = open_shard_images(options.image_folders[name], searcher, _report)
        elif searcher.metadata.row(0)["url"] is None:
            print(f"laion serve: note: {name} has no URLs: --shards shows images", file=sys.stderr)
        description = searcher.description
        model = (
            (options.model, options.pretrained)
            if options.model is not None
            else (description.model, description.pretrained)
        )
        key = (*model, description.dimension)
        if key not in vectors:
            vectors[key] = _query_vectors(options, searcher, cores)
        found, used = vectors[key]
        services[name] = Service(searcher, found, images, used, max(1, cores - 1))
    return services


def _query_vectors(
    options: ServeOptions, searcher: Searcher, cores: int
) -> tuple[QueryVectors, str]:
    """Load the model of an index; return what embeds queries, and the model's name."""
    from laion.web.decoder_pool import DecoderPool
    from laion.web.decoder_process import DecodeLimits
    from laion.web.query_vectors import QueryVectors

    embedder = QueryEmbedder(
        searcher.description,
        options.model,
        options.pretrained,
        max(1, cores - 1),
        options.pretrained_tag,
    )
    limits = DecodeLimits(options.max_pixels, options.max_decode_time)
    decoders = DecoderPool(embedder.preprocess, limits, max(1, cores // 2))
    decoders.start()
    network = query_network(options.max_upload_bytes, options.allow_private_addresses)
    return QueryVectors(embedder, decoders, network), embedder.model


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


def allowed_connections(wanted: int) -> int:
    """Raise the limit of open files; return how many of the wanted connections it allows.

    Raises:
        UsageError: it allows none.
    """
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if limit == resource.RLIM_INFINITY or wanted <= limit - _OTHER_FILES:
        return wanted
    hint = f"raise the limit with `ulimit -n {wanted + _OTHER_FILES}`"
    if limit <= _OTHER_FILES:
        raise UsageError(f"this process may open {limit} files only: {hint}")
    allowed = limit - _OTHER_FILES
    print(
        f"laion serve: note: {allowed} connections at once instead of {wanted}, because this "
        f"process may open {limit} files: {hint}",
        file=sys.stderr,
    )
    return allowed


def _report(done: int, count: int) -> None:
    if done == count or done % 100 == 0:
        print(f"images: {done} of {count} shards scanned", file=sys.stderr, flush=True)
