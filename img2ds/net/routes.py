"""Which way a URL goes: directly, or through a proxy. Pure but for the environment it is made of.

The proxy looks up the names of URLs that go through it, so the address guard sees only what such a
URL says itself.
"""

from __future__ import annotations

import os

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Reason
from img2ds.net.address import is_literal, is_public, is_public_name
from img2ds.net.connect_rule import ConnectRules
from img2ds.net.error import FetchError
from img2ds.net.proxies import Proxy, read_rules
from img2ds.net.url import Url


class Routes:
    """The ways of a run's URLs.

    Raises:
        UsageError: an option, or a proxy of the environment, cannot be used.
    """

    def __init__(self, options: NetworkOptions) -> None:
        self._proxies = read_rules(options.proxy, os.environ)
        self._connect_rules = ConnectRules(options.connect_to)
        self._allow_private = options.allow_private_addresses

    def choose(self, url: Url) -> Proxy | None:
        """Return the proxy that `url` goes through, None when it is asked directly.

        A --connect_to rule comes before a proxy.

        Raises:
            FetchError: blocked_address, when the URL itself names a private host.
        """
        if self._proxies is None:
            return None
        proxy = self._proxies.choose(url)
        if proxy is None or self._connect_rules.redirect(url.host, url.port) is not None:
            return None
        if not self._allow_private:
            public = is_public(url.host) if is_literal(url.host) else is_public_name(url.host)
            if not public:
                raise FetchError(Reason.BLOCKED_ADDRESS, "private or reserved address")
        return proxy
