"""The headers of every request. Pure."""

from __future__ import annotations

from img2ds import __version__
from img2ds.config.options import NetworkOptions

#: Where a webmaster finds out who is asking.
CONTACT_URL = "https://github.com/img2ds/img2ds"

#: JPEG, PNG and WebP, as the dataset wants them. A browser's list would bring AVIF, which few
#: decoders read, and other bytes than those whose hashes are published.
ACCEPT = "image/jpeg,image/png,image/webp,image/*;q=0.5,*/*;q=0.1"


def user_agent(options: NetworkOptions) -> str:
    """The User-Agent header: honest about who asks, unless the user chose another."""
    if options.user_agent is not None:
        return options.user_agent
    token = f"compatible; {options.user_agent_token}; " if options.user_agent_token else ""
    return f"img2ds/{__version__} ({token}+{CONTACT_URL})"


def request_headers(options: NetworkOptions) -> dict[str, str]:
    """The headers of every request but Host; the user's own replace ours of the same name."""
    headers = {
        "User-Agent": user_agent(options),
        "Accept": ACCEPT,
        "Accept-Encoding": "identity",
    }
    ours = {name.lower(): name for name in headers}
    for name, value in options.headers.items():
        headers.pop(ours.get(name.lower(), ""), None)
        headers[name] = value
    return headers


def request_tail(options: NetworkOptions) -> bytes:
    """The part of a request that is the same for every URL."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in request_headers(options).items())
    return (lines + "\r\n").encode("utf-8")
