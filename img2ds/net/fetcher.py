"""The protocol of a fetcher, one attempt at one URL, and the choice by name.

Retrying is the caller's: a pause must not hold a slot.
"""

from __future__ import annotations

from typing import Protocol

from img2ds.net.budget import Lease
from img2ds.net.trio_fetcher import TrioFetcher
from img2ds.options import NetworkOptions
from img2ds.outcome import Failure, UsageError
from img2ds.sample import Fetched


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
