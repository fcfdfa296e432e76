"""What a line of a block list stands for: digests of 16 bytes that rows are compared by. Pure.

URLs are compared as img2ds requests them, see `net.url`, without their scheme: `http` and `https`
count as one. A host stands for itself and for all of its subdomains. Of a SHA-256 the first half
is compared: nobody can make an image with the half of a given one, and 10 million take 160 MB.
PDQ hashes are compared by their distance, and stay whole: see `near_hashes`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from hashlib import blake2b

from img2ds.core.pdq import BYTES
from img2ds.net.error import FetchError
from img2ds.net.url import Url, parse_url

#: Bytes of a digest.
DIGEST_BYTES = 16

#: The hashes that a list may hold, and their digits.
HASH_DIGITS = {"md5": 32, "sha256": 64}
_KIND_OF = {digits: kind for kind, digits in HASH_DIGITS.items()}
#: `HASH`, `md5:HASH`, `HASH  FILE` as md5sum prints it, or `HASH,...`.
_HASH = re.compile(r"(?:(md5|sha256):)?([0-9a-f]{64}|[0-9a-f]{32})(?![0-9a-z]).*", re.I | re.S)
#: `pdq:HASH`, or `pdq:HASH,...`: without the prefix it would look like a SHA-256.
_PDQ = re.compile(rf"pdq:([0-9a-f]{{{2 * BYTES}}})(?![0-9a-z]).*", re.I | re.S)
_PDQ_PREFIX = "pdq:"
#: Shortest line that is no host: names have at most 253 characters.
_LONG = 300


class BadLineError(ValueError):
    """A line that stands for nothing; the message says what it should be."""


#: Returns the digest of a line, and what it is counted as; None for a line of another kind of list.
Reader = Callable[[str], tuple[bytes, str] | None]


def read_pdq(line: str) -> tuple[bytes, str] | None:
    """Return the PDQ hash of a line, None if it has another hash. Raises BadLineError."""
    if not _is_pdq(line):
        return None
    match = _PDQ.fullmatch(line)
    if match is None:
        raise BadLineError(f"not a PDQ hash ({2 * BYTES} hex digits)")
    return bytes.fromhex(match[1]), "pdq"


def _is_pdq(line: str) -> bool:
    return line[: len(_PDQ_PREFIX)].lower() == _PDQ_PREFIX


def read_hash(line: str) -> tuple[bytes, str] | None:
    """Return the digest of a line with a hash, None if it is a PDQ hash. Raises BadLineError."""
    if _is_pdq(line):
        return None
    match = _HASH.fullmatch(line)
    kind = match and _KIND_OF[len(match[2])]
    if match is None or (match[1] and match[1].lower() != kind):
        raise BadLineError(
            "neither an MD5 (32 hex digits), a SHA-256 (64), nor pdq: and a PDQ hash (64)"
        )
    return bytes.fromhex(match[2][: 2 * DIGEST_BYTES]), str(kind)


def read_url(line: str) -> tuple[bytes, str]:
    """Return the digest of a line with a URL; its scheme can be left out. Raises BadLineError."""
    try:
        url = parse_url(line if "://" in line else f"http://{line}")
    except FetchError as error:
        raise BadLineError(f"not a URL ({error.failure.message})") from None
    return url_digest(url), "url"


def read_host(line: str) -> tuple[bytes, str]:
    """Return the digest of a line with a host: `example.com` or `*.example.com`.

    Raises:
        BadLineError: it is no host.
    """
    name = line.removeprefix("*").removeprefix(".")
    try:
        url = parse_url(f"http://{f'[{name}]' if name.count(':') > 1 else name}/")
    except FetchError:
        url = None
    if url is None or url.target != "/" or url.port != 80 or len(name) > _LONG or "@" in name:
        raise BadLineError("not a host, such as example.com")
    return host_digest(url.host), "host"


#: How each kind of list is read.
READERS: dict[str, Reader] = {
    "hashes": read_hash, "pdq": read_pdq, "urls": read_url, "hosts": read_host,
}  # fmt: skip


def url_digest(url: Url) -> bytes:
    """Return the digest of a URL, whatever its scheme."""
    return blake2b(f"{url.authority}{url.target}".encode(), digest_size=DIGEST_BYTES).digest()


def host_digest(host: str) -> bytes:
    """Return the digest of a host as `Url.host` spells it."""
    return blake2b(host.rstrip(".").encode(), digest_size=DIGEST_BYTES).digest()


def domains(host: str) -> Iterator[str]:
    """Yield a host and the domains that it is in, the widest last: a.b.com, b.com, com."""
    host = host.rstrip(".")
    if ":" in host or host.replace(".", "").isdigit():  # an address is in no domain
        yield host
        return
    start = 0
    while start >= 0:
        yield host[start:]
        dot = host.find(".", start)
        start = dot + 1 if dot >= 0 else -1
