"""Portals: a network that answers for all hosts, with one page or with a redirect to one host.

Hotels, airlines and some providers do that until somebody logs in, or pays. A page that several
hosts in a row send is a portal's; one that comes now and then among others is a parking service's.
"""

from __future__ import annotations

import math
import zlib
from collections import OrderedDict, deque
from dataclasses import dataclass

from img2ds.core.failure import Reason
from img2ds.core.sample import Body

#: Responses that are remembered, how many of them are the last ones, and for how many seconds.
REMEMBERED, LAST, FOR = 20, 5, 10.0
#: From how many different hosts the same page must come, among the last responses.
HOSTS = 3
#: A page that came before is a portal's if as many among those remembered would come by chance to
#: one in so many responses: pages of parking services come in threes now and then.
BY_CHANCE = 1e-7
#: Seconds for which a page is believed to be a portal's that is not certainly one.
BELIEVED = 120.0
#: Seconds after a portal was noticed in which images may come that were under way.
UNDER_WAY = 1.5
#: Seconds after a portal's end from which its page is judged anew: rows that have the page for good
#: show it earlier.
COMES_BACK = 20.0
#: Pages remembered.
MAX_PAGES = 1000
#: Hosts remembered that gave images, about 100 bytes each.
MAX_GOOD = 10_000
#: RFC 6585 6: what a portal should answer, and hardly any does.
NETWORK_AUTHENTICATION_REQUIRED = "http_511"

#: What makes two pages the same.
Page = tuple[str, int, int]


def page_of(reason: str, body: Body, final_host: str) -> Page | None:
    """Return what tells a page from others, None for what no portal sends.

    Args:
        reason: why the response is no image.
        body: its body.
        final_host: where redirects to another host led; empty without them.
    """
    if reason == NETWORK_AUTHENTICATION_REQUIRED:
        return reason, 0, 0
    if reason != Reason.NOT_AN_IMAGE.value:
        return None
    if final_host:
        return final_host, 0, 0
    return "", len(body), zlib.crc32(body)


@dataclass(slots=True)
class _Seen:
    """What is known of a page.

    Attributes:
        at: when it was seen first.
        portal_since: when a portal was noticed by it.
        ended_at: when the first image came after that.
        certain: whether it is certainly a portal's.
    """

    at: float
    portal_since: float | None = None
    ended_at: float | None = None
    certain: bool = False


class PortalWatch:
    """Notices a portal by the responses of one worker.

    A page that comes among images is no portal's: image services send one page for all that was
    removed. A page from a host that gave an image before is certainly a portal's. Else it may be
    what these hosts answer: it is believed for a while, and no longer than no host gives an image.
    """

    def __init__(self) -> None:
        self._recent: deque[tuple[float, str, Page | None]] = deque()
        self._earlier = 0  # responses before those remembered
        self._earlier_pages: OrderedDict[Page, int] = OrderedDict()  # and how many were this page
        self._good: OrderedDict[str, None] = OrderedDict()  # hosts that gave images
        self._seen: OrderedDict[Page, _Seen] = OrderedDict()
        self._ordinary: set[Page] = set()  # what hosts answer after all

    def add_image(self, now: float, host: str) -> None:
        """Note an image."""
        self._remember(now, host, None)
        self._good[host] = None
        if len(self._good) > MAX_GOOD:
            self._good.popitem(last=False)
        for page, seen in list(self._seen.items()):
            since = seen.at if seen.portal_since is None else seen.portal_since
            if now - since <= UNDER_WAY:
                continue
            if not seen.certain:
                self._set_ordinary(page)
            elif seen.ended_at is None:
                seen.ended_at = now
                self._forget(page)

    def add_page(self, now: float, host: str, page: Page) -> bool:
        """Note a page; return whether it is a portal's."""
        self._remember(now, host, page)
        if page in self._ordinary:
            return False
        seen = self._seen.get(page)
        if seen is None or (seen.ended_at is not None and now - seen.ended_at > COMES_BACK):
            seen = self._seen[page] = _Seen(now)
            if len(self._seen) > MAX_PAGES:
                self._seen.popitem(last=False)
        if seen.ended_at is not None:
            if now - seen.ended_at <= UNDER_WAY:
                return True  # the last ones of the portal
            self._set_ordinary(page)
            return False
        last = list(self._recent)[-LAST:]
        hosts = {h for when, h, p in last if p == page and now - when < FOR}
        if page[0] != NETWORK_AUTHENTICATION_REQUIRED:
            if len(hosts) < HOSTS and not seen.certain:
                return False
            if seen.portal_since is None and self._may_be_chance(now, page):
                return False
            if host in self._good and len(hosts) >= HOSTS:
                seen.certain = True
        if seen.portal_since is None:
            seen.portal_since = now
        if seen.certain or now - seen.portal_since < BELIEVED:
            return True
        self._set_ordinary(page)
        return False

    def _remember(self, now: float, host: str, page: Page | None) -> None:
        self._recent.append((now, host, page))
        if len(self._recent) > REMEMBERED:
            _, _, old = self._recent.popleft()
            self._earlier += 1
            if old is not None:
                self._earlier_pages[old] = self._earlier_pages.pop(old, 0) + 1
                if len(self._earlier_pages) > MAX_PAGES:
                    self._earlier_pages.popitem(last=False)

    def _forget(self, page: Page) -> None:
        """Forget how often a page came: as long as a portal answered, nothing else did."""
        self._earlier_pages.pop(page, None)
        self._recent = deque(entry for entry in self._recent if entry[2] != page)

    def _may_be_chance(self, now: float, page: Page) -> bool:
        """Return whether so many of a page may come together, given its share before."""
        earlier = self._earlier_pages.get(page, 0)
        if not earlier and all(p != page for _, _, p in list(self._recent)[:-LAST]):
            return False  # it is new
        share = (earlier + 1) / (self._earlier + 2)  # by Laplace's rule of succession
        count = sum(1 for when, _, p in self._recent if p == page and now - when < FOR)
        return math.comb(len(self._recent), count) * share**count > BY_CHANCE

    def _set_ordinary(self, page: Page) -> None:
        self._seen.pop(page, None)
        if len(self._ordinary) < MAX_PAGES:
            self._ordinary.add(page)
