"""How to fetch: the flags of the network, a group that validates itself."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import ClassVar

from img2ds.config.flags import at_least, flag, positive
from img2ds.core.failure import UsageError

FETCHERS = ("trio", "asks")

#: Values of --proxy that name no proxy.
PROXY_FROM_ENVIRONMENT, PROXY_NONE = "environment", "none"


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """How to fetch."""

    TITLE: ClassVar[str] = "Network"

    thread_count: int = flag(
        256, "int", "most requests in flight per process; also spelled --concurrency"
    )
    timeout: float = flag(
        10.0, "float", "seconds for connecting, for the first byte, and for any silence"
    )
    max_time: float = flag(60.0, "float", "seconds that one attempt at a URL may take in all")
    retries: int = flag(0, "int", "further attempts after a failure that may pass")
    max_redirects: int = flag(5, "int", "redirects to follow")
    max_image_bytes: int = flag(50_000_000, "size", "largest body; 50MB and 1.5GiB are understood")
    min_image_bytes: int = flag(0, "size", "smallest body")
    per_host_concurrency: int = flag(
        64, "int", "most requests in flight to one host, per process; 0 for no limit"
    )
    user_agent: str | None = flag(None, "str?", "the whole User-Agent (default: img2ds/VERSION)")
    user_agent_token: str | None = flag(
        None, "str?", "a name to add to the User-Agent, and to obey in X-Robots-Tag"
    )
    disallowed_header_directives: tuple[str, ...] = flag(
        ("noai", "noimageai", "noindex", "noimageindex"), "list",
        "X-Robots-Tag directives that forbid a picture; '[]' turns this off",
    )  # fmt: skip
    headers: dict[str, str] = flag(
        {}, "mapping", 'further request headers: \'{"Referer": "…"}\'', secret=True
    )
    ignore_ssl_certificate: bool = flag(False, "bool", "accept any certificate")
    ca_bundle: str | None = flag(None, "str?", "PEM file of authorities to trust instead")
    dns_servers: tuple[str, ...] = flag(
        (), "list", "name servers, ADDRESS or ADDRESS:PORT (default: /etc/resolv.conf)"
    )
    connect_to: tuple[str, ...] = flag(
        (), "list",
        "HOST:PORT:ADDR:PORT as in curl: connect elsewhere; parts may be empty, HOST may be *",
    )  # fmt: skip
    proxy: str = flag(
        PROXY_FROM_ENVIRONMENT, "str",
        "http://[USER:PASSWORD@]HOST:PORT of an HTTP proxy, or https://; environment stands for "
        "http_proxy, https_proxy, all_proxy and no_proxy, none for no proxy",
        secret=True,
    )  # fmt: skip
    allow_private_addresses: bool = flag(
        False, "bool", "allow loopback, private and link-local addresses"
    )
    fetcher: str = flag("trio", "choice", "HTTP client: our own, or the paper's", *FETCHERS)

    def __post_init__(self) -> None:
        at_least("thread_count", self.thread_count, 1)
        at_least("retries", self.retries, 0)
        at_least("max_redirects", self.max_redirects, 0)
        at_least("per_host_concurrency", self.per_host_concurrency, 0)
        at_least("max_image_bytes", self.max_image_bytes, 1)
        at_least("min_image_bytes", self.min_image_bytes, 0)
        positive("timeout", self.timeout)
        positive("max_time", self.max_time)
        if self.ca_bundle is not None and not os.path.isfile(self.ca_bundle):
            raise UsageError(f"--ca_bundle: there is no file {self.ca_bundle}")
        for name, value in self.headers.items():
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or re.search(
                r"[\r\n\0]", str(value)
            ):
                raise UsageError(f"--headers: {name!r} is not a header that can be sent")
            if name.lower() in ("host", "content-length", "transfer-encoding"):
                raise UsageError(f"--headers: {name} follows from the URL and cannot be chosen")
        for text in filter(None, (self.user_agent, self.user_agent_token)):
            if re.search(r"[\r\n\0]", text):
                raise UsageError("--user_agent and --user_agent_token must be one line")
        if not self.proxy:
            raise UsageError("--proxy takes the URL of a proxy, environment, or none")
        for rule in self.connect_to:
            if rule.count(":") < 3:
                raise UsageError(
                    f"--connect_to: {rule!r} is not HOST:PORT:ADDR:PORT (parts may be empty)"
                )
