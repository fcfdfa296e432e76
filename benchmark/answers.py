"""The benchmark servers' answer to a URL: one rule for Python and nginx.

nginx picks the answer with `split_clients`, which hashes the request's target; the same hash in
Python predicts the outcome of every row. Hosts are dead by the hash of their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

import idna

DEFAULT_PORTS = {"http": 80, "https": 443}

#: Shares of targets, in percent, that get something else than an image.
FAILING = {"404": 7.5, "403": 2.0, "500": 1.0, "closed": 1.0, "html": 1.5, "cut": 1.0}
#: Share of host names that do not exist, in percent.
DEAD_HOSTS = 1.5
IMAGE = "picture"

#: The reason that img2ds gives for each answer; a closed connection may be seen in two ways.
REASONS = {
    "404": ("http_404",),
    "403": ("http_403",),
    "500": ("http_500",),
    "400": ("http_400",),
    "closed": ("closed_before_reply", "connect_reset"),
    "html": ("not_an_image",),
    "cut": ("truncated_image",),
    "dead": ("dns_not_found",),
    "wrong port": ("tls_error",),
    "no way": ("connect_refused",),
    "no URL": ("bad_url", "unsupported_scheme"),
}

_MASK = 0xFFFFFFFF
_SCHEME = re.compile(r"(https?):/*", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\] ]+)(?::([0-9]{0,5}))?")
_UNSAFE = re.compile(r"[^!#-;=?-_a-z|~]")
#: nginx refuses these in a path.
_MALFORMED = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")


def murmur2(data: bytes) -> int:
    """MurmurHash2 with seed 0, 32 bits: nginx's `split_clients` uses it."""
    factor = 0x5BD1E995
    length = len(data)
    h = length
    whole = length & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * factor & _MASK
        h = (h * factor & _MASK) ^ ((k ^ (k >> 24)) * factor & _MASK)
    if length > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * factor & _MASK
    h = (h ^ (h >> 13)) * factor & _MASK
    return h ^ (h >> 15)


@dataclass(frozen=True, slots=True)
class Split:
    """One `split_clients` block: shares in percent with two decimals; `rest` takes what is left."""

    variable: str
    prefix: str
    shares: dict[str, float]
    rest: str

    def pick(self, target: str) -> str:
        """The value for a request target, as nginx picks it."""
        h = murmur2(f"{self.prefix}{target}".encode())
        bound = 0
        for value, percent in self.shares.items():
            bound += round(percent * 100) * _MASK // 10000
            if h < bound:
                return value
        return self.rest

    def nginx(self) -> str:
        """The block of the configuration."""
        lines = [f"    {percent:.2f}% {value};" for value, percent in self.shares.items()]
        head = f'split_clients "{self.prefix}$request_uri" ${self.variable} {{'
        return "\n".join((head, *lines, f"    * {self.rest};", "}"))


def answer_split(failing: dict[str, float]) -> Split:
    """Which targets fail, and how."""
    return Split("answer", "a ", failing, IMAGE)


def image_splits(count: int) -> tuple[Split, Split, Split]:
    """Three digits of an image's number, of which there are `count`, a multiple of 100."""
    digits = {str(digit): 10.0 for digit in range(9)}
    hundreds = count // 100
    first = {str(digit): int(10000 / hundreds) / 100 for digit in range(hundreds - 1)}
    return (
        Split("hundreds", "h ", first, str(hundreds - 1)),
        Split("tens", "t ", digits, "9"),
        Split("ones", "o ", digits, "9"),
    )


@dataclass(frozen=True, slots=True)
class Address:
    """A URL as servers see it; `spelling` is the host as it stands in the list."""

    scheme: str
    host: str
    spelling: str
    port: int
    target: str


def read_url(url: str | None) -> Address | None:
    """Return the target and the host that a browser would request; None without an http(s) URL.

    Written apart from img2ds's own parser, on purpose: the benchmark checks it.
    """
    text = (url or "").strip()
    match = _SCHEME.match(text)
    if match is None:
        return None
    scheme = match[1].lower()
    authority, path = _cut(text[match.end() :].partition("#")[0])
    found = _AUTHORITY.fullmatch(authority.rpartition("@")[2])
    if found is None:
        return None
    host = found[1].lower()
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True, transitional=False).decode()
        except idna.IDNAError:
            return None
    port = int(found[2] or DEFAULT_PORTS[scheme])
    if not 0 < port < 65536:
        return None
    return Address(scheme, host, found[1], port, _target(path))


def _cut(rest: str) -> tuple[str, str]:
    places = [rest.find(marker) for marker in "/?" if marker in rest]
    end = min(places, default=len(rest))
    return rest[:end], rest[end:]


def _target(rest: str) -> str:
    path, marker, query = rest.partition("?")
    kept: list[str] = []
    segments = (path or "/").split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    target = "/" + "/".join(kept) + marker + query
    return _UNSAFE.sub(lambda match: quote(match[0], safe=""), target)


@dataclass(frozen=True, slots=True)
class Ports:
    """Which scheme each port speaks."""

    schemes: dict[int, str]

    @classmethod
    def of(cls, addresses: Iterable[Address]) -> Ports:
        """The default ports, and others by the scheme that names them first."""
        schemes = {port: scheme for scheme, port in DEFAULT_PORTS.items()}
        for address in addresses:
            schemes.setdefault(address.port, address.scheme)
        return cls(schemes)


@dataclass(frozen=True, slots=True)
class Rule:
    """The answer to every URL of a list.

    Args:
        failing: shares of targets that fail, in percent, by answer.
        dead: the host names that do not exist; neither do their subdomains.
    """

    failing: dict[str, float]
    dead: frozenset[str]
    ports: Ports

    def answer(self, url: str | None) -> str:
        """`IMAGE`, or a key of `REASONS`."""
        address = read_url(url)
        if address is None:
            return "no URL"
        if address.host.startswith("["):
            return "no way"  # the servers have IPv4 addresses only
        labels = address.host.split(".")
        if any(".".join(labels[start:]) in self.dead for start in range(len(labels))):
            return "dead"
        speaks = self.ports.schemes[address.port]
        if speaks != address.scheme:
            return "wrong port" if address.scheme == "https" else "400"
        if _MALFORMED.search(address.target.partition("?")[0]):
            return "400"
        return answer_split(self.failing).pick(address.target)

    def images(self, urls: Iterable[str | None]) -> int:
        """How many of `urls` are answered with an image."""
        return sum(self.answer(url) == IMAGE for url in urls)


def dead_hosts(hosts: Iterable[str], percent: float) -> frozenset[str]:
    """Those of `hosts` that do not exist."""
    bound = round(percent * 100)
    return frozenset(host for host in hosts if murmur2(f"dead {host}".encode()) % 10000 < bound)
