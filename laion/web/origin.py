"""Origins of web pages (RFC 6454), as browsers send them. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from img2ds.core.failure import UsageError

_PORTS = {"http": 80, "https": 443}


def parse_origin(text: str) -> str:
    """Return an origin in the form in which browsers send it; `*` stays.

    Raises:
        UsageError: it is no origin.
    """
    if text == "*":
        return text
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if (
        not host
        or parts.scheme not in _PORTS
        or parts.path.strip("/")
        or parts.query
        or "@" in text
    ):
        raise UsageError(f"--allowed_origins takes http://HOST:PORT, got {text!r}")
    shown = f"[{host}]" if ":" in host else host
    is_default = port is None or port == _PORTS[parts.scheme]
    return f"{parts.scheme}://{shown}" + ("" if is_default else f":{port}")
