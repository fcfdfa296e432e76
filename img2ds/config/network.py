"""How to fetch: the flags of the network, a group that validates itself."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from typing import ClassVar

from img2ds.config.flags import at_least, flag, positive
from img2ds.core.failure import UsageError

FETCHERS = ("trio", "asks")
RESOLVERS = ("stub", "unbound")

#: Values of --proxy that are not a proxy's URL.
PROXY_FROM_ENVIRONMENT, PROXY_NONE = "environment", "none"

#: How images are fetched is not part of a dataset's identity.
_flag = functools.partial(flag, identity=False)

#: RFC 9110 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE_BREAK = re.compile(r"[\r\n\0]")


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """How bodies are fetched: limits, headers, DNS, TLS and proxies."""

    TITLE: ClassVar[str] = "Network"

    thread_count: int = _flag(256, "int", "maximum requests in flight per process")
    timeout: float = _flag(
        10.0, "float", "seconds to wait for a connection, for the first byte, or for more data"
    )
    max_time: float = _flag(60.0, "float", "maximum seconds for one attempt at a URL")
    max_outage: float = _flag(
        1800.0, "float",
        "seconds without network after which the run ends; its open shards are not committed",
    )  # fmt: skip
    retries: int = _flag(0, "int", "further attempts after a transient failure")
    max_redirects: int = _flag(5, "int", "maximum redirects to follow")
    max_image_bytes: int = _flag(
        50_000_000, "size", "largest response to accept, such as 50MB or 1.5GiB"
    )
    min_image_bytes: int = _flag(0, "size", "smallest response to accept")
    per_host_concurrency: int = _flag(
        64, "int", "maximum requests in flight to one host, per machine; 0 for no limit"
    )
    per_host_rate: float = _flag(
        0.0, "float", "maximum requests per second to one host, per machine; 0 for no limit"
    )
    user_agent: str | None = _flag(
        None, "str?", "the whole User-Agent header (default: img2ds/VERSION and a contact URL)"
    )
    user_agent_token: str | None = _flag(
        None, "str?", "name to add to the User-Agent and to obey in X-Robots-Tag"
    )
    disallowed_header_directives: tuple[str, ...] = _flag(
        ("noai", "noimageai", "noindex", "noimageindex"), "list",
        "X-Robots-Tag directives that forbid an image; '[]' ignores them",
    )  # fmt: skip
    respect_robots: bool = _flag(
        False, "bool", "obey robots.txt, at the cost of one request a host, machine and day"
    )
    respect_tdm: bool = _flag(
        False, "bool", "fail images whose response reserves text and data mining (TDM-Reservation)"
    )
    block_urls: tuple[str, ...] = _flag(
        (), "list", "files of URLs, one a line, that are not requested, whatever their scheme"
    )
    block_hosts: tuple[str, ...] = _flag(
        (), "list", "files of hosts that are not asked for anything, subdomains included"
    )
    block_hashes: tuple[str, ...] = _flag(
        (), "list", "files of MD5, SHA-256 or pdq:HASH in hex, of original images that are not kept"
    )
    headers: dict[str, str] = _flag(
        {}, "mapping", 'extra request headers, such as \'{"Referer": "URL"}\'',
        secret=True,
    )  # fmt: skip
    ignore_ssl_certificate: bool = _flag(False, "bool", "accept any TLS certificate")
    ca_bundle: str | None = _flag(
        None, "str?", "PEM file of certificate authorities to trust instead of the system's"
    )
    dns_servers: tuple[str, ...] = _flag(
        (), "list", "DNS servers, ADDRESS or ADDRESS:PORT (default: from /etc/resolv.conf)"
    )
    resolver: str = _flag(
        "stub", "choice",
        "stub asks the DNS servers; unbound starts a recursive, validating resolver for the run, "
        "which asks the domains' own servers (or forwards to --dns_servers)", *RESOLVERS,
    )  # fmt: skip
    connect_to: tuple[str, ...] = _flag(
        (), "list",
        "connect to another address: HOST:PORT:ADDR:PORT as in curl; parts can be empty, HOST can "
        "be *",
    )  # fmt: skip
    proxy: str = _flag(
        PROXY_FROM_ENVIRONMENT, "str",
        "http:// or https:// URL of a proxy, with USER:PASSWORD@ if needed; environment: use "
        "http_proxy, https_proxy, all_proxy and no_proxy; none: use no proxy",
        secret=True,
    )  # fmt: skip
    allow_private_addresses: bool = _flag(
        False, "bool", "allow loopback, private and link-local addresses"
    )
    fetcher: str = _flag(
        "trio", "choice", "HTTP client: trio is img2ds's own, asks the paper's", *FETCHERS,
        plugins=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        at_least("thread_count", self.thread_count, 1)
        at_least("retries", self.retries, 0)
        at_least("max_redirects", self.max_redirects, 0)
        at_least("per_host_concurrency", self.per_host_concurrency, 0)
        at_least("per_host_rate", self.per_host_rate, 0)
        at_least("max_image_bytes", self.max_image_bytes, 1)
        at_least("min_image_bytes", self.min_image_bytes, 0)
        positive("timeout", self.timeout)
        positive("max_time", self.max_time)
        positive("max_outage", self.max_outage)
        if self.ca_bundle is not None and not os.path.isfile(self.ca_bundle):
            raise UsageError(f"--ca_bundle: no such file: {self.ca_bundle!r}")
        for name in ("block_urls", "block_hosts", "block_hashes"):
            # Workers may have another working directory.
            object.__setattr__(self, name, tuple(map(_whole_path, getattr(self, name))))
        self._check_headers()
        if not self.proxy:
            raise UsageError("--proxy takes the URL of a proxy, environment, or none")
        for rule in self.connect_to:
            if rule.count(":") < 3:
                raise UsageError(
                    f"--connect_to takes HOST:PORT:ADDR:PORT (parts can be empty), got {rule!r}"
                )

    def _check_headers(self) -> None:
        for name, value in self.headers.items():
            if not _TOKEN.fullmatch(name) or _LINE_BREAK.search(str(value)):
                raise UsageError(f"--headers: {name!r} is not a valid header")
            if name.lower() in ("host", "content-length", "transfer-encoding"):
                raise UsageError(f"--headers: {name!r} depends on the URL and cannot be set")
        for text in filter(None, (self.user_agent, self.user_agent_token)):
            if _LINE_BREAK.search(text):
                raise UsageError("--user_agent and --user_agent_token must be one line")


def _whole_path(path: str) -> str:
    return path if "://" in path or "::" in path else os.path.abspath(os.path.expanduser(path))
