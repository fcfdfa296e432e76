"""What every fetcher does around a single request: limits, redirects, judging the answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import trio

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Failure, Reason, failure
from img2ds.core.sample import Body, Fetched
from img2ds.net.budget import Lease
from img2ds.net.connection import Connection
from img2ds.net.connector import Connector
from img2ds.net.error import FetchError
from img2ds.net.proxy import Proxy
from img2ds.net.redirect import REDIRECTS, next_url
from img2ds.net.reply import Head, ReplyRules
from img2ds.net.resolver import Resolver, system_config
from img2ds.net.sockets import Deadline
from img2ds.net.url import Url, parse_url


class RedirectingFetcher(ABC):
    """A fetcher but for the request itself.

    Args:
        resolver: where names are looked up; by default what the options ask for.

    Raises:
        UsageError: an option cannot be used.
    """

    def __init__(self, options: NetworkOptions, resolver: Resolver | None = None) -> None:
        self.options = options
        self.rules = ReplyRules(options)
        resolver = resolver or Resolver(system_config(options.dns_servers), options.timeout)
        self.connector = Connector(options, resolver)

    async def fetch(self, url: str | None, lease: Lease) -> Fetched | Failure:
        """See `Fetcher.fetch`."""
        due = Deadline(self.options.timeout, self.options.max_time)
        try:
            return await self._follow(parse_url(url), due, lease)
        except FetchError as error:
            return error.failure

    async def _follow(self, url: Url, due: Deadline, lease: Lease) -> Fetched | Failure:
        hops = 0
        while True:
            proxy = None
            try:
                proxy = self.connector.route(url)
                head, body = await self.get(url, proxy, due, lease)
            except FetchError as error:
                # Nobody knows whether the host or the proxy was silent: it is not the host's.
                return replace(error.failure, via_other_host=hops > 0 or proxy is not None)
            if proxy is not None and proxy.relays(url) and head.status == 407:
                return failure(Reason.PROXY_ERROR, "proxy wants credentials (407)")
            location = head.fields.get(b"location")
            if head.status in REDIRECTS and location is not None:
                url = next_url(url, location, hops, self.options.max_redirects)
                hops += 1
                continue
            return self.rules.judge(head) or self.rules.finish(head, body)

    async def connect(
        self, url: Url, proxy: Proxy | None, due: Deadline, lease: Lease
    ) -> Connection:
        """A new connection for `url`; raises as `Connector.connect`."""
        async with lease.connecting:
            connection = await self.connector.connect(url, due, proxy)
            connected = trio.current_time()
        due.extend(trio.current_time() - connected)  # until there was a slot to go on in
        return connection

    @abstractmethod
    async def get(
        self, url: Url, proxy: Proxy | None, due: Deadline, lease: Lease
    ) -> tuple[Head, Body]:
        """One request, through `proxy` if there is one.

        The body is left empty where the rules do not want it.

        Raises:
            FetchError: any reason but those that an answer's head decides. What goes wrong before
                a proxy that relays has sent a head is `blamed` on it, but for silence.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close idle connections."""
