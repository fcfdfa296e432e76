"""A shorter time limit for connecting than for the rest of an attempt."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType

from img2ds.net.deadline import Deadline


class ShortConnect:
    """Wraps `FetchContext.connecting` of an attempt. Is entered once for each redirect.

    Args:
        connecting: what is wrapped.
        seconds: time limit of connecting, if that is less.
    """

    def __init__(
        self, connecting: AbstractAsyncContextManager[None], deadline: Deadline, seconds: float
    ) -> None:
        self._connecting = connecting
        self._deadline = deadline
        self._timeout = deadline.timeout
        self._short = min(seconds, deadline.timeout)

    async def __aenter__(self) -> None:
        self._deadline.timeout = self._short
        await self._connecting.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._deadline.timeout = self._timeout
        await self._connecting.__aexit__(kind, error, traceback)
