"""Rows whose response is a page, held until it is clear whether a portal sent it.

The first pages of a portal look like any other. A row waits without a slot, for as long as the next
pages take to come; where nothing else is in progress none will.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from img2ds.congestion.portal import Page, PortalWatch
from img2ds.core.failure import Failure
from img2ds.downloader.row import Row

#: Seconds that a row is held, and rows that are held at most.
HELD_FOR, MAX_HELD = 1.5, 2000


class _Held(NamedTuple):
    until: float
    row: Row
    outcome: Failure
    page: Page


class HeldPages:
    """The rows that are held. They are active, in no slot.

    Args:
        settle: called for each row in the end, with whether a portal answered.
    """

    def __init__(self, settle: Callable[[Row, Failure, bool], None]) -> None:
        self._settle = settle
        self._watch = PortalWatch()
        self._held: deque[_Held] = deque()

    def add_image(self, now: float, host: str) -> None:
        """Note an image."""
        self._watch.add_image(now, host)

    def add(self, now: float, row: Row, outcome: Failure, page: Page) -> None:
        """Take a row whose response was `page`."""
        self._held.append(_Held(now + HELD_FOR, row, outcome, page))
        if self._watch.add_page(now, row.host, page):
            held, self._held = self._held, deque()
            for entry in held:
                if entry.page == page:
                    self._settle(entry.row, entry.outcome, True)
                else:
                    self._held.append(entry)
        while len(self._held) > MAX_HELD:
            self._settle_first()

    def release(self, now: float, idle: bool) -> None:
        """Settle the rows that were held for long enough; all of them when the worker is `idle`."""
        while self._held and (idle or self._held[0].until <= now):
            self._settle_first()

    def _settle_first(self) -> None:
        entry = self._held.popleft()
        self._settle(entry.row, entry.outcome, False)
