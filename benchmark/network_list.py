"""The rows of a world: their URLs, whether an image can be had, and where their hosts live.

A host's kind is in its name and, as the third byte, in its address, so that name server, router
and web server need no table. Seeded: the same world and number give the same list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from benchmark.network_settings import World

CDN, PORTAL = "cdn.example", "portal.example"
#: All servers' addresses, in the block that RFC 2544 reserves for benchmarks.
SERVERS = "198.19.0.0/16"
CDN_ADDRESS = "198.19.200.1"
PORTAL_ADDRESS = "198.19.200.2"
NAME_SERVER, DEAD_NAME_SERVER = "198.19.255.53", "198.19.255.52"
#: Third byte of the first address of each kind of host.
FIRST = {"site": 0, "dead": 64, "waking": 96, "refused": 128, "missing": 160}
#: Names for each row, as in a real list, and the CDN's share of the rows.
NAMES_PER_ROW = 0.4
CDN_SHARE = 0.3
_WAKING_HOSTS = 3

_NAME = re.compile(r"(site|dead|waking|refused|missing)(\d+)\.example")


@dataclass(frozen=True, slots=True)
class Rows:
    """A list. `available` holds the URLs of images that can be had."""

    urls: list[str]
    available: frozenset[str]
    names: int
    cdn: int


def address_of(name: str) -> str | None:
    """Return the IPv4 address of a host, or None when the name does not exist."""
    if name in (CDN, PORTAL):
        return CDN_ADDRESS if name == CDN else PORTAL_ADDRESS
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    third, fourth = divmod(int(match[2]), 250)
    return f"198.19.{FIRST[match[1]] + third}.{fourth + 1}"


def kind_of(third_byte: int) -> str:
    """Return the kind of a host from the third byte of its address."""
    return max((first, kind) for kind, first in FIRST.items() if first <= third_byte)[1]


def make_rows(world: World, count: int) -> Rows:
    """Draw `count` rows: every name once, the other rows on random names, all shuffled."""
    random = Random(14)
    cdn = round(count * CDN_SHARE) if world.web.cdn else 0
    waking = round(count * world.hosts.waking)
    names = _names(world, max(1, round((count - cdn - waking) * NAMES_PER_ROW)))
    hosts = names + random.choices(names, k=count - cdn - waking - len(names))
    hosts += [CDN] * cdn
    hosts += [f"waking{number % _WAKING_HOSTS}.example" for number in range(waking)]
    random.shuffle(hosts)
    urls = [_url(host, number) for number, host in enumerate(hosts)]
    available = frozenset(
        url for url, host in zip(urls, hosts, strict=True)
        if host.startswith(("site", "waking", "cdn"))
    )  # fmt: skip
    return Rows(urls, available, len(set(hosts)), cdn)


def _names(world: World, count: int) -> list[str]:
    shares = world.hosts
    kinds: list[str] = []
    for kind, share in (
        ("dead", shares.dead), ("gone", shares.gone), ("refused", shares.refused),
        ("missing", shares.missing),
    ):  # fmt: skip
        kinds += [kind] * min(round(count * share), count - len(kinds))
    kinds += ["site"] * (count - len(kinds))
    return [f"{kind}{number}.example" for number, kind in enumerate(kinds)]


def _url(host: str, number: int) -> str:
    # Nothing listens on port 81.
    port = ":81" if host.startswith("refused") else ""
    return f"http://{host}{port}/{number}.jpg"
