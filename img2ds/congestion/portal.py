"""Portals: a network that answers for all hosts, with one page or with a redirect to one host.

Hotels, airlines and some providers do that until somebody logs in, or pays. A page that several
hosts in a row send is a portal's; one that a few send among others is a parking service's.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict, deque

from img2ds.core.failure import Reason
from img2ds.core.sample import Body

#: Responses that are remembered, and for how many seconds.
REMEMBERED, FOR = 5, 10.0
#: Of these, from how many different hosts must come the same page.
HOSTS = 3
#: Seconds for which a page is believed to be a portal's that is not certainly one.
BELIEVED = 120.0
#: Seconds after a portal was noticed in which images may come that were under way.
UNDER_WAY = 1.5
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


class PortalWatch:
    """Notices a portal by the responses of one worker.

    A page from a host that gave an image before is certainly a portal's. Else it may be what these
    hosts answer: it is believed for a while, and no longer than no host gives an image.
    """

    def __init__(self) -> None:
        self._recent: deque[tuple[float, str, Page | None]] = deque(maxlen=REMEMBERED)
        self._good: OrderedDict[str, None] = OrderedDict()  # hosts that gave images
        self._since: dict[Page, float] = {}  # when a portal's page was noticed
        self._certain: set[Page] = set()
        self._ordinary: set[Page] = set()  # what hosts answer after all

    def add_image(self, now: float, host: str) -> None:
        """Note an image."""
        self._recent.append((now, host, None))
        self._good[host] = None
        if len(self._good) > MAX_GOOD:
            self._good.popitem(last=False)
        for page, since in self._since.items():
            if page not in self._certain and now - since > UNDER_WAY:
                self._ordinary.add(page)

    def add_page(self, now: float, host: str, page: Page) -> bool:
        """Note a page; return whether it is a portal's."""
        self._recent.append((now, host, page))
        if page in self._ordinary:
            return False
        hosts = {h for when, h, p in self._recent if p == page and now - when < FOR}
        if page[0] != NETWORK_AUTHENTICATION_REQUIRED:
            if len(hosts) < HOSTS and page not in self._certain:
                return False
            if host in self._good and len(hosts) >= HOSTS:
                self._certain.add(page)
        since = self._since.setdefault(page, now)
        if page in self._certain or now - since < BELIEVED:
            return True
        self._ordinary.add(page)
        return False
