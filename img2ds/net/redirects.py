"""The fetcher: follows redirects and judges responses, over any client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Failure, Reason, failure
from img2ds.core.img2dataset_messages import http_error, redirect_loop
from img2ds.core.sample import Fetched
from img2ds.net.client import Client
from img2ds.net.context import FetchContext
from img2ds.net.error import FetchError
from img2ds.net.redirect_rule import REDIRECTS, next_url
from img2ds.net.request import Request
from img2ds.net.response import ResponseRules
from img2ds.net.routes import Routes
from img2ds.net.url import Url, parse_url


class RedirectingFetcher:
    """A `Fetcher` over a client that does one request.

    Args:
        routes: choose the way of each URL.
        judge: returns why a URL may not be requested; None if it may.
    """

    def __init__(
        self,
        client: Client,
        routes: Routes,
        options: NetworkOptions,
        judge: Callable[[Url], Failure | None] | None = None,
    ) -> None:
        self._client = client
        self._judge = judge
        self._routes = routes
        self._rules = ResponseRules(options)
        self._max_redirects = options.max_redirects

    async def fetch(self, url: str | None, context: FetchContext) -> Fetched | Failure:
        """See `Fetcher.fetch`."""
        try:
            return await self._follow(parse_url(url), context)
        except FetchError as error:
            return error.failure

    async def aclose(self) -> None:
        """See `Fetcher.aclose`."""
        await self._client.aclose()

    async def _follow(self, url: Url, context: FetchContext) -> Fetched | Failure:
        hops = 0
        while True:
            if self._judge is not None and (blocked := self._judge(url)) is not None:
                return blocked
            proxy = None
            try:
                proxy = self._routes.choose(url)
                request = Request(url, proxy)
                response = await self._client.send(request, context, self._rules.wants_body)
            except FetchError as error:
                # Behind a proxy it is unknown whether the host or the proxy did not respond.
                return replace(error.failure, via_other_host=hops > 0 or proxy is not None)
            head = response.head
            if head.status == 407 and request.relay is not None:
                said = http_error(head.status, head.phrase)
                return failure(Reason.PROXY_ERROR, "proxy requires credentials (407)", said)
            location = head.fields.get(b"location")
            if head.status not in REDIRECTS or location is None:
                outcome = self._rules.outcome(response)
                if hops and isinstance(outcome, Failure):
                    return replace(outcome, via_other_host=True)
                return outcome
            said = redirect_loop(head.status, head.phrase)
            first, url = url.host, next_url(url, location, hops, self._max_redirects, said)
            if url.host != first:
                context.final_host = url.host
            hops += 1
