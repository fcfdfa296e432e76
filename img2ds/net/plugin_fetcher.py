"""`--fetcher PLUG-IN`: the limits of a run, kept around a fetcher of the user's."""

from __future__ import annotations

from typing import Any

import trio

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Failure, Reason, UsageError, failure
from img2ds.core.plugins import PluginError, load
from img2ds.core.sample import Body, Fetched
from img2ds.net.context import FetchContext


class PluginFetcher:
    """A `Fetcher` whose attempts end, are within the limits on bytes, and never raise.

    Raises:
        UsageError: the plug-in cannot be set up.
    """

    def __init__(self, options: NetworkOptions) -> None:
        self._options = options
        self._name = name = options.fetcher
        make = load("fetcher", name)
        try:
            self._inner = make(options)
        except Exception as error:  # whatever its code does
            words = (str(error) or type(error).__name__).splitlines()[0]
            raise UsageError(f"--fetcher: {name} cannot be set up: {words}") from None

    async def fetch(self, url: str | None, context: FetchContext) -> Fetched | Failure:
        """See `Fetcher.fetch`."""
        if not url:
            return failure(Reason.BAD_URL, "no URL")
        if context.lease.exhausted:
            await context.lease.wait()
        fetched: Any = None
        try:
            with trio.move_on_after(self._options.max_time) as scope:
                fetched = await self._inner.fetch(url, context)
        except Exception as error:  # of whatever library it uses
            return PluginError("fetcher", self._name, error).failure
        if scope.cancelled_caught:
            return failure(Reason.MAX_TIME, f"not fetched within {self._options.max_time:g} s")
        return self._outcome(fetched, context)

    def _outcome(self, fetched: Any, context: FetchContext) -> Fetched | Failure:
        if isinstance(fetched, Failure):
            return fetched
        body = fetched.body if isinstance(fetched, Fetched) else fetched
        if not isinstance(body, Body):
            kind = type(fetched).__name__
            return PluginError("fetcher", self._name, f"returned {kind}, not bytes").failure
        context.on_response()
        options = self._options
        if len(body) > options.max_image_bytes:
            return failure(Reason.TOO_LARGE, "body larger than max_image_bytes")
        if len(body) < max(1, options.min_image_bytes):
            message = "body smaller than min_image_bytes" if len(body) else "empty body"
            return failure(Reason.TOO_SMALL, message)
        context.lease.add(len(body))
        return Fetched(body)

    async def aclose(self) -> None:
        """See `Fetcher.aclose`."""
        close = getattr(self._inner, "aclose", None)
        if close is not None:
            await close()
