"""Whose request it is: the peer's address or, behind a trusted proxy, what the proxy says. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from img2ds.core.failure import UsageError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Prefix length that identifies an IPv6 client: a household has a /64.
_IPV6_PREFIX = 64

#: Addresses in X-Forwarded-For that are looked at, from the right.
_MAX_HOPS = 20


class TrustedProxies:
    """The proxies whose X-Forwarded-For is believed.

    Args:
        networks: addresses and networks, such as 10.0.0.0/8.

    Raises:
        UsageError: one is neither.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [_network(text) for text in networks]
        # Per object, which lru_cache on a method would not be.
        self.trusts = lru_cache(4096)(self._trusts)

    def _trusts(self, host: str) -> bool:
        """Return whether a peer is one of the proxies."""
        address = parse_address(host)
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: str, forwarded: Sequence[str]) -> str:
        """Return the address of the client that sent a request.

        Each proxy appends the address of its own peer, so the header is read from the right, as
        long as what is there was written by a trusted proxy.

        Args:
            forwarded: the values of X-Forwarded-For.
        """
        client = peer
        for value in reversed(",".join(forwarded).split(",")[-_MAX_HOPS:]):
            if not self.trusts(client):
                break
            address = _forwarded_address(value.strip())
            if address is None:  # such as `unknown`: the proxy does not tell
                break
            client = str(address)
        return client


def client_key(scope: Mapping[str, Any]) -> str:
    """Return what identifies the client of an ASGI scope: its IPv4 address, or its IPv6 network."""
    return key_of((scope.get("client") or ("", 0))[0])


@lru_cache(4096)
def key_of(host: str) -> str:
    """Return what identifies the client at an address: see `client_key`."""
    address = parse_address(host)
    if address is None:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address.packed, _IPV6_PREFIX), strict=False))


def parse_address(host: str) -> Address | None:
    """Return an address; the IPv4 address of one that is mapped to IPv6."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _forwarded_address(value: str) -> Address | None:
    """Parse `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1` or `[2001:db8::1]:443`."""
    value = value.strip('"')
    if value.startswith("["):
        value = value[1:].partition("]")[0]
    elif value.count(":") == 1:
        value = value.partition(":")[0]
    return parse_address(value)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise UsageError(
            f"--trusted_proxy takes addresses and networks such as 10.0.0.0/8, got {text!r}"
        ) from None
