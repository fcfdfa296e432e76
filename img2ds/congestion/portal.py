"""Portals: a network that answers for all hosts, with one page or with a redirect to one host.

Hotels, airlines and some providers do that until somebody logs in, or pays. A page that several
hosts in a row send is a portal's; one that a few send among others is a parking service's.
"""

from __future__ import annotations

import zlib
from collections import deque

from img2ds.core.failure import Reason
from img2ds.core.sample import Body

#: Responses that are remembered, and for how many seconds.
REMEMBERED, FOR = 5, 10.0
#: Of these, from how many different hosts must come the same page.
HOSTS = 3
#: Seconds for which a portal is believed in when there was no image before it. Then it is what
#: these hosts answer.
BELIEVED_WITHOUT_IMAGES = 120.0
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
    """Notices a portal by the responses of one worker."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, str, Page | None]] = deque(maxlen=REMEMBERED)
        self._images = False
        self._since: float | None = None  # of a portal without images before it

    def add_image(self, now: float, host: str) -> None:
        """Note an image."""
        self._images = True
        self._recent.append((now, host, None))

    def add_page(self, now: float, host: str, page: Page) -> bool:
        """Note a page; return whether it is a portal's."""
        self._recent.append((now, host, page))
        hosts = {h for when, h, p in self._recent if p == page and now - when < FOR}
        if len(hosts) < HOSTS and page[0] != NETWORK_AUTHENTICATION_REQUIRED:
            return False
        if self._images:
            return True
        if self._since is None:
            self._since = now
        return now - self._since < BELIEVED_WITHOUT_IMAGES
