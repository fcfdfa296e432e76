"""The fetcher: follows redirects and judges responses, over any client.

No URL is requested that a block list names, or that robots.txt forbids.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Failure, Reason, failure
from img2ds.core.img2dataset_messages import http_error, redirect_loop
from img2ds.core.sample import Fetched
from img2ds.net.client import Client
from img2ds.net.context import FetchContext
from img2ds.net.error import FetchError
from img2ds.net.redirect_rule import REDIRECTS, next_url
from img2ds.net.request import Request
from img2ds.net.response import Response, ResponseHead, ResponseRules
from img2ds.net.robots_txt import MAX_BYTES
from img2ds.net.routes import Routes
from img2ds.net.url import Url, parse_url

if TYPE_CHECKING:
    from img2ds.net.robots_gate import RobotsGate
    from img2ds.net.robots_store import RobotsStore

#: Redirects that are followed to a robots.txt, at least.
ROBOTS_REDIRECTS = 5


class _Wish(NamedTuple):
    """What is asked for: a URL, and what of the responses; see `Request.cut_at`."""

    url: Url
    wants_body: Callable[[ResponseHead], bool]
    max_redirects: int
    cut_at: int | None = None


class RedirectingFetcher:
    """A `Fetcher` over a client that does one request.

    Args:
        routes: choose the way of each URL.
        judge: returns why a URL may not be requested; None if it may.
        store: what the workers of this machine know of robots.txt files; is closed with this.
    """

    def __init__(
        self,
        client: Client,
        routes: Routes,
        options: NetworkOptions,
        judge: Callable[[Url], Failure | None] | None = None,
        store: RobotsStore | None = None,
    ) -> None:
        self._client = client
        self._judge = judge
        self._routes = routes
        self._rules = ResponseRules(options)
        self._max_redirects = options.max_redirects
        self._robots: RobotsGate | None = None
        if options.respect_robots:
            from img2ds.net.robots_gate import RobotsGate

            self._robots = RobotsGate(options, self._get_robots, store)

    async def fetch(self, url: str | None, context: FetchContext) -> Fetched | Failure:
        """See `Fetcher.fetch`."""
        try:
            return await self._follow(parse_url(url), context)
        except FetchError as error:
            return error.failure

    async def aclose(self) -> None:
        """See `Fetcher.aclose`."""
        if self._robots is not None:
            self._robots.close()
        await self._client.aclose()

    async def _follow(self, url: Url, context: FetchContext) -> Fetched | Failure:
        reached = await self._respond(
            _Wish(url, self._rules.wants_body, self._max_redirects), context
        )
        if isinstance(reached, Failure):
            return reached
        response, hops = reached
        outcome = self._rules.outcome(response)
        if hops and isinstance(outcome, Failure):
            return replace(outcome, via_other_host=True)
        return outcome

    async def _get_robots(self, url: Url, context: FetchContext) -> Response | Failure:
        """Get a robots.txt. At least five redirects are followed (RFC 9309 2.3.1.2)."""
        hops = max(self._max_redirects, ROBOTS_REDIRECTS)
        wish = _Wish(url, lambda head: 200 <= head.status < 300, hops, MAX_BYTES + 1)
        try:
            reached = await self._respond(wish, context)
        except FetchError as error:
            return error.failure
        return reached if isinstance(reached, Failure) else reached[0]

    async def _respond(self, wish: _Wish, context: FetchContext) -> tuple[Response, int] | Failure:
        """Follow redirects. Returns the response at their end, and how many there were.

        Raises:
            FetchError: a redirect leads nowhere.
        """
        url, hops = wish.url, 0
        while True:
            forbidden = await self._forbidden(url, context, of_robots=wish.cut_at is not None)
            if forbidden is not None:
                return replace(forbidden, via_other_host=True) if hops else forbidden
            proxy = None
            try:
                proxy = self._routes.choose(url)
                request = Request(url, proxy, wish.cut_at)
                response = await self._client.send(request, context, wish.wants_body)
            except FetchError as error:
                # Behind a proxy it is unknown whether the host or the proxy did not respond.
                return replace(error.failure, via_other_host=hops > 0 or proxy is not None)
            head = response.head
            if head.status == 407 and request.relay is not None:
                said = http_error(head.status, head.phrase)
                return failure(Reason.PROXY_ERROR, "proxy requires credentials (407)", said)
            location = head.fields.get(b"location")
            if head.status not in REDIRECTS or location is None:
                return response, hops
            said = redirect_loop(head.status, head.phrase)
            first, url = url.host, next_url(url, location, hops, wish.max_redirects, said)
            if url.host != first:
                context.final_host = url.host
            hops += 1

    async def _forbidden(self, url: Url, context: FetchContext, of_robots: bool) -> Failure | None:
        """Return why a URL may not be requested; None if it may."""
        if self._judge is not None and (blocked := self._judge(url)) is not None:
            return blocked
        if self._robots is None or of_robots:
            return None
        return await self._robots.judge(url, context)
