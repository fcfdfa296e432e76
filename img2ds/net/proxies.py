"""HTTP proxies: which URL goes through which one, and which failures are a proxy's. Pure.

Settings are those of curl and of Python's urllib: `http_proxy`, `https_proxy`, `all_proxy` and
`no_proxy` of the environment, or one proxy for everything but `no_proxy`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from img2ds.config.network import PROXY_FROM_ENVIRONMENT, PROXY_NONE
from img2ds.core.failure import Failure, Reason, UsageError, http_reason
from img2ds.core.img2dataset_messages import not_connected
from img2ds.net.error import FetchError
from img2ds.net.no_proxy import NoProxy
from img2ds.net.response import ResponseHead
from img2ds.net.url import DEFAULT_PORTS, Url, parse_url

_SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy.

    Attributes:
        scheme: what is spoken to it: https is TLS to the proxy itself.
        credentials: the value of a Proxy-Authorization header, empty without credentials.
    """

    scheme: str
    host: str
    port: int
    credentials: bytes = field(default=b"", repr=False)

    @property
    def header(self) -> bytes:
        """The header line of the credentials, empty without them."""
        return b"Proxy-Authorization: %b\r\n" % self.credentials if self.credentials else b""

    def relays(self, url: Url) -> bool:
        """Return whether it is asked for `url` itself, and not for a tunnel to its host."""
        return url.scheme == "http"


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """Which proxy a URL goes through."""

    by_scheme: Mapping[str, Proxy]
    exempt: NoProxy

    def choose(self, url: Url) -> Proxy | None:
        """Return the proxy for `url`, None when it is asked directly."""
        proxy = self.by_scheme.get(url.scheme)
        if proxy is None or self.exempt.holds(url.host, url.port):
            return None
        return proxy


def read_rules(wanted: str, environment: Mapping[str, str]) -> ProxyRules | None:
    """Return the rules for `--proxy wanted`; None when no URL goes through a proxy.

    Raises:
        UsageError: a proxy cannot be used. The message has no part of its URL, which may hold a
            password.
    """
    if wanted == PROXY_NONE:
        return None
    settings = _settings(environment)
    if wanted == PROXY_FROM_ENVIRONMENT:
        proxies = {}
        for scheme in _SCHEMES:
            name = f"{scheme}_proxy" if f"{scheme}_proxy" in settings else "all_proxy"
            if text := settings.get(name):
                proxies[scheme] = parse_proxy(text, f"{name} in the environment")
    else:
        proxies = dict.fromkeys(_SCHEMES, parse_proxy(wanted, "--proxy"))
    exempt = NoProxy(settings.get("no_proxy", ""))
    return ProxyRules(proxies, exempt) if proxies else None


def _settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the `..._proxy` variables by lower-case name.

    Lower case wins. An empty value means no proxy in lower case, and nothing in upper case.
    """
    settings = {}
    for lower in (False, True):
        for name, value in environment.items():
            if name.lower().endswith("_proxy") and (name == name.lower()) is lower:
                # Under CGI it is a header that a client chose (CVE-2016-1000110).
                if name.lower() == "http_proxy" and not lower and "REQUEST_METHOD" in environment:
                    continue
                if value or lower:
                    settings[name.lower()] = value.strip()
    return settings


def parse_proxy(text: str, source: str) -> Proxy:
    """Read `[http[s]://][USER:PASSWORD@]HOST[:PORT]`; the port is 80 or 443 when not given.

    Args:
        source: where the text comes from, for messages.

    Raises:
        UsageError: it has another form or scheme.
    """
    if "://" not in text:
        text = f"http://{text}"
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    if scheme.startswith("socks"):
        raise UsageError(
            f"{source}: SOCKS proxies are not supported: use http:// or https://, or --proxy none "
            "for no proxy"
        )
    wrong = UsageError(
        f"{source}: not of the form http://HOST:PORT or http://USER:PASSWORD@HOST:PORT (within "
        "the user and the password write / ? # @ : as %2F %3F %23 %40 %3A)"
    )
    if scheme not in DEFAULT_PORTS:
        raise wrong
    authority = rest.partition("/")[0]
    try:
        url = parse_url(f"{scheme}://{authority}")
    except FetchError:
        raise wrong from None
    userinfo = authority.rpartition("@")[0]
    if url.target != "/" or "\\" in authority or any(c.isspace() for c in authority):
        raise wrong
    if not userinfo:
        return Proxy(scheme, url.host, url.port)
    user, _, password = userinfo.partition(":")
    plain = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return Proxy(scheme, url.host, url.port, b"Basic " + b64encode(plain))  # RFC 7617 2


#: Reasons that are never a proxy's: this machine's own, and time-outs of the whole attempt.
_NOT_THE_PROXYS = frozenset((Reason.NO_DESCRIPTORS.value, Reason.MAX_TIME.value))


def blamed(error: FetchError, *, silence: bool = True) -> FetchError:
    """Return `error`, of an exchange with a proxy itself, as proxy_error.

    Args:
        silence: whether silence is the proxy's fault; a proxy that relays waits for the server.

    Returns:
        An error of the same class.
    """
    reason = error.failure.reason
    if reason == Reason.PROXY_ERROR or reason in _NOT_THE_PROXYS:
        return error
    if reason == Reason.STALLED and (not silence or error.failure.shared):
        return error
    message = error.failure.message.replace("server stopped responding", "no answer")
    return type(error)(Reason.PROXY_ERROR, f"proxy: {message}")


def says_keep_alive(head: ResponseHead) -> bool:
    """Return whether a proxy that relayed a response says that it takes another request.

    HTTP/1.1 does not require it to say so. But some proxies, such as tinyproxy, say nothing and
    pass on whatever follows to the first host.
    """
    values = (head.fields.get(name, b"") for name in (b"connection", b"proxy-connection"))
    return any(b"keep-alive" in value.lower() for value in values)


def refusal(status: int, phrase: str = "") -> FetchError:
    """Return why there is no tunnel, by the status of the answer to CONNECT.

    A server that cannot be reached has the reasons of plain http: http_502, http_503, http_504,
    and with some proxies http_500. Anything else is about the proxy.
    """
    said = not_connected(f"Tunnel connection failed: {status} {phrase}")
    error = FetchError(
        Reason.PROXY_ERROR,
        # 401 is for servers by the standard, but tinyproxy answers a wrong password with it.
        f"proxy requires credentials ({status})"
        if status in (401, 407)
        else f"proxy refused CONNECT with {status}",
        said,
    )
    if status >= 500:
        message = f"proxy answered {status} to CONNECT"
        error.failure = Failure(http_reason(status), message, img2dataset=said)
    return error
