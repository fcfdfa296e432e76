"""The limits of one attempt at a URL, and the callbacks for its events."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from img2ds.config.options import NetworkOptions
from img2ds.congestion.portal import Page
from img2ds.net.budget import Lease
from img2ds.net.deadline import Deadline

_NO_SLOT = nullcontext()


def _ignore() -> None:
    pass


def _always() -> bool:
    return True


@dataclass(slots=True)
class FetchContext:
    """The surroundings of one attempt at a URL, redirects included.

    Attributes:
        lease: counts body bytes as they arrive.
        deadline: the attempt's time limits.
        connecting: entered while the attempt waits for a connection; leaving it may take time,
            which the deadline gives back.
        waiting: entered while the attempt may not connect yet; leaving it may take time, too.
        on_response: called when the head of a response has arrived, once for each request.
        final_host: where redirects to another host have led; empty without them.
        page: tells a response that is no image from others.
        on_connected: called when a host without a proxy has accepted a connection.
        resolving: seconds that looking up names took; below 0 without a lookup.
        may_keep: called after a response: whether its connection may be kept for later requests.
    """

    lease: Lease
    deadline: Deadline
    connecting: AbstractAsyncContextManager[None] = _NO_SLOT
    waiting: AbstractAsyncContextManager[None] = _NO_SLOT
    on_response: Callable[[], None] = _ignore
    may_keep: Callable[[], bool] = _always
    final_host: str = ""
    page: Page | None = None
    on_connected: Callable[[], None] = _ignore
    resolving: float = -1.0

    @classmethod
    def start(cls, options: NetworkOptions, lease: Lease) -> FetchContext:
        """Return a context whose time starts now, without a slot to lend or a callback."""
        return cls(lease, Deadline(options.timeout, options.max_time))
