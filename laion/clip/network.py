"""Checks that weights can be downloaded before the download starts, for a quick error.

Without a network the hub's client would retry for a minute or more.
"""

from __future__ import annotations

import os
import socket
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from img2ds.core.failure import UsageError

#: Seconds to connect to the server that has the weights.
CONNECT_TIMEOUT = 5.0


@contextmanager
def reach_weights(flags: str, config: Mapping[str, Any]) -> Iterator[None]:
    """Raise before the body of the `with` block when weights can be neither read nor downloaded.

    Args:
        flags: how the user named the weights, for the message.
        config: open_clip's entry of the weights: `hf_hub` (ORG/NAME/FILE) or `url`.

    Raises:
        UsageError: the weights are not in the cache, and their server cannot be reached.
    """
    hub = config.get("hf_hub", "")
    if hub and _is_cached(hub.rpartition("/")[0]):
        with _offline_if_unreachable(_endpoint()):
            yield
        return
    address = _endpoint() if hub else config.get("url", "")
    if hub and _is_offline():
        raise UsageError(f"{flags} is not in the cache, and HF_HUB_OFFLINE forbids a download")
    if address and (why := _unreachable(address)):
        raise UsageError(
            f"{flags} has to be downloaded, and {urlsplit(address).hostname} cannot be reached "
            f"({why}): download it on another machine and give the file as --pretrained"
        )
    yield


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _is_cached(name: str) -> bool:
    """Return whether the hub's cache has a file of that repository."""
    from huggingface_hub import constants

    folder = os.path.join(constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}")
    return os.path.isdir(os.path.join(folder, "snapshots"))


@contextmanager
def _offline_if_unreachable(address: str) -> Iterator[None]:
    """Have the hub's client use its cache alone while there is no network."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    if _unreachable(address):
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _unreachable(address: str) -> str | None:
    """Return why no connection is possible, None when one is (or a proxy makes it)."""
    parts = urlsplit(address)
    proxies = urllib.request.getproxies()
    host = parts.hostname or ""
    if parts.scheme in proxies and not urllib.request.proxy_bypass(host):
        return None
    try:
        port = parts.port or (80 if parts.scheme == "http" else 443)
        socket.create_connection((host, port), CONNECT_TIMEOUT).close()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None
