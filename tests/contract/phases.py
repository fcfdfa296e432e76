"""What a fetcher enters while a row has no connection: for its name, then for the connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Step = Callable[[], Awaitable[None]]


class Phases:
    """A context manager that may be entered again.

    Args:
        begin, end: awaited when it is entered, and when it is left.
    """

    def __init__(self, begin: Step, end: Step) -> None:
        self._begin, self._end = begin, end

    async def __aenter__(self) -> None:
        await self._begin()

    async def __aexit__(self, *_: object) -> None:
        await self._end()
