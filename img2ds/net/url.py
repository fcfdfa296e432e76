"""URLs as browsers read them, split into what a request needs. Pure.

The rules follow the WHATWG URL standard where real lists need it: surrounding blanks are
dropped, raw blanks and other characters are percent-encoded as UTF-8, backslashes count as slashes,
`..` is resolved, host names become lower-case ASCII.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes, urljoin

import idna

from img2ds.core.failure import Reason
from img2ds.core.img2dataset_messages import not_connected
from img2ds.net.error import FetchError

DEFAULT_PORTS = {"http": 80, "https": 443}

#: Requests with longer targets are refused by nearly every server (RFC 9110 4.1 asks for 8000).
MAX_URL_LENGTH = 65_536

_BLANKS = "".join(map(chr, range(0x21)))
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_AUTHORITY = re.compile(r"[/\\]*([^/\\?#]*)([^#]*)")
_PLAIN_HOST = re.compile(r"[a-z0-9_\-]+(?:\.[a-z0-9_\-]+)*\.?")
_NUMERIC_HOST = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
#: Characters that a request target must not hold raw (WHATWG path and query percent-encode sets).
_UNSAFE = re.compile(r"[^!#-;=?-_a-z|~]")
_SAFE = "!#$%&'()*+,-./:;=?@[\\]^_|~"


@dataclass(frozen=True, slots=True)
class Url:
    """One http or https URL, ready to be requested.

    `host` is a lower-case ASCII name or an address literal without brackets; `target` is the
    path and query of the request line; `authority` is the value of the Host header.
    """

    scheme: str
    host: str
    port: int
    target: str
    authority: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return (self.scheme, self.host, self.port)

    @property
    def text(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_url(text: str | None) -> Url:
    """Parse `text` as browsers do.

    Raises:
        FetchError: bad_url or unsupported_scheme.
    """
    if not text:
        raise FetchError(Reason.BAD_URL, "empty URL")
    if len(text) > MAX_URL_LENGTH:
        raise FetchError(Reason.BAD_URL, "URL too long")
    text = text.strip(_BLANKS)
    if "\n" in text or "\t" in text or "\r" in text:
        text = text.replace("\n", "").replace("\t", "").replace("\r", "")
    match = _SCHEME.match(text)
    if match is None:
        raise FetchError(Reason.BAD_URL, "URL without a scheme")
    scheme = match[1].lower()
    if scheme not in DEFAULT_PORTS:
        said = not_connected(f"unknown url type: {scheme[:20]}")
        raise FetchError(Reason.UNSUPPORTED_SCHEME, f"unsupported scheme {scheme[:20]}", said)
    parts = _AUTHORITY.match(text, match.end())
    assert parts is not None  # every part of the pattern may be empty
    host, port = _split_authority(parts[1], DEFAULT_PORTS[scheme])
    authority = f"[{host}]" if ":" in host else host
    if port != DEFAULT_PORTS[scheme]:
        authority = f"{authority}:{port}"
    return Url(scheme, host, port, _request_target(parts[2]), authority)


def resolve_reference(base: Url, reference: str) -> Url:
    """Return the URL that a Location header leads to (RFC 9110 10.2.2).

    Raises:
        FetchError: bad_url or unsupported_scheme.
    """
    try:
        joined = urljoin(base.text, reference.strip(_BLANKS).replace("\\", "/"))
    except ValueError:
        raise FetchError(Reason.BAD_URL, "redirect to a bad URL") from None
    return parse_url(joined)


def _split_authority(authority: str, default_port: int) -> tuple[str, int]:
    authority = authority.rpartition("@")[2]
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise FetchError(Reason.BAD_URL, "bad host")
        port_text = rest[1:]
        try:
            host = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host))
        except (OSError, ValueError):
            raise FetchError(Reason.BAD_URL, "bad host") from None
    else:
        host, _, port_text = authority.partition(":")
        host = _ascii_host(host)
    if not port_text:
        return host, default_port
    digits = port_text.lstrip("0")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 6 and int(digits) < 65536):
        raise FetchError(Reason.BAD_URL, "bad port")
    return host, int(digits)


def _ascii_host(host: str) -> str:
    if "%" in host:
        host = unquote_to_bytes(host).decode("utf-8", "replace")
    host = host.lower()
    if len(host) > 254:  # before anything is spent on it
        raise FetchError(Reason.BAD_URL, "bad host")
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True, std3_rules=False, transitional=False).decode()
        except (idna.IDNAError, UnicodeError):
            raise FetchError(Reason.BAD_URL, "bad host") from None
    if len(host) > 254 or not _PLAIN_HOST.fullmatch(host):
        raise FetchError(Reason.BAD_URL, "bad host")
    if _NUMERIC_HOST.fullmatch(host):
        # http://2130706433/ and http://0x7f.1/ are 127.0.0.1 to browsers, and must be to the guard.
        try:
            return socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))
        except OSError:
            raise FetchError(Reason.BAD_URL, "bad host") from None
    return host


def _request_target(text: str) -> str:
    path, marker, query = text.partition("?")
    if "\\" in path:
        path = path.replace("\\", "/")
    if "/." in path:
        path = _without_dots(path)
    target = f"{path or '/'}{marker}{query}"
    if _UNSAFE.search(target):
        target = quote(target, safe=_SAFE, encoding="utf-8", errors="replace")
    return target


def _without_dots(path: str) -> str:
    """RFC 3986 5.2.4."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for place, segment in enumerate(segments):
        last = place == len(segments) - 1
        if segment == "..":
            if kept:
                kept.pop()
            if last:
                kept.append("")
        elif segment == ".":
            if last:
                kept.append("")
        else:
            kept.append(segment)
    return "/" + "/".join(kept)
