"""One GET request: which URL, by which way, and with which headers. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from img2ds import __version__
from img2ds.config.options import NetworkOptions
from img2ds.net.proxies import Proxy
from img2ds.net.url import Url

#: Where a webmaster finds out who is asking.
CONTACT_URL = "https://github.com/img2ds/img2ds"

#: Media types by the names of `--image_formats`. The first four are asked for before the others:
#: more of the web's originals have them, and they are decoded faster.
_MEDIA_TYPES = {
    "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif",
    "avif": "image/avif;q=0.8", "bmp": "image/bmp;q=0.8", "tiff": "image/tiff;q=0.8",
    "jpeg2000": "image/jp2;q=0.8", "pnm": "image/x-portable-anymap;q=0.8",
}  # fmt: skip


def accept(formats: Iterable[str]) -> str:
    """Return the Accept header that asks for images of these formats, or else for any."""
    wanted = [kind for name, kind in _MEDIA_TYPES.items() if name in formats]
    return ",".join([*wanted, "image/*;q=0.5", "*/*;q=0.1"])


def accepting(options: NetworkOptions, formats: Iterable[str]) -> NetworkOptions:
    """Return the options with a header that asks for these formats, unless the user set it."""
    return replace(options, headers={"Accept": accept(formats), **options.headers})


class Request:
    """A GET of `url`, through `proxy` or directly. Do not change it.

    Attributes:
        relay: the proxy if it is asked for the URL itself, None with a tunnel or without a proxy.
        cut_at: bytes of the body that are wanted; the rest is not received. None for all.
    """

    __slots__ = ("cut_at", "proxy", "relay", "url")

    def __init__(self, url: Url, proxy: Proxy | None = None, cut_at: int | None = None) -> None:
        self.cut_at = cut_at
        self.url = url
        self.proxy = proxy
        self.relay = proxy if proxy is not None and proxy.relays(url) else None

    @property
    def target(self) -> str:
        """The target of the request line: for a relay the whole URL (RFC 9112 3.2.2)."""
        return self.url.target if self.relay is None else self.url.text


def user_agent(options: NetworkOptions) -> str:
    """Return the User-Agent header: img2ds and a contact URL, unless the user chose another."""
    if options.user_agent is not None:
        return options.user_agent
    token = f"compatible; {options.user_agent_token}; " if options.user_agent_token else ""
    return f"img2ds/{__version__} ({token}+{CONTACT_URL})"


def request_headers(options: NetworkOptions) -> dict[str, str]:
    """Return the headers of every request but Host; the user's replace ours of the same name."""
    headers = {
        "User-Agent": user_agent(options),
        "Accept": accept(_MEDIA_TYPES),
        "Accept-Encoding": "identity",
    }
    ours = {name.lower(): name for name in headers}
    for name, value in options.headers.items():
        headers.pop(ours.get(name.lower(), ""), None)
        headers[name] = value
    return headers
