"""Which addresses a public URL may lead to. Pure.

URLs of a list are untrusted: none of them may reach this machine, its network or a cloud's
metadata service, whatever its name resolves to.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

#: Public addresses that are reachable only from inside a cloud: Azure's host agent.
_METADATA = frozenset({"168.63.129.16"})

#: IETF protocol assignments. No web server is there, but a cloud's metadata service (192.0.0.192).
_PROTOCOLS = ipaddress.ip_network("192.0.0.0/24")

#: Anycast of services, not of servers: 6to4 relays (RFC 7526), AS112 (RFC 7535).
_SERVICES = (ipaddress.ip_network("192.88.99.0/24"), ipaddress.ip_network("2620:4f:8000::/48"))
#: IPv6 ranges that carry an IPv4 address: NAT64 (RFC 6052), 6to4 (RFC 3056).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.ip_network("64:ff9b:1::/48")
_SIX_TO_FOUR = ipaddress.ip_network("2002::/16")
_SITE_LOCAL = ipaddress.ip_network("fec0::/10")
_COMPATIBLE = ipaddress.ip_network("::/96")
#: Reserved later than the list in Python 3.10: documentation (RFC 9637), SRv6 (RFC 9602).
_LATER = (ipaddress.ip_network("3fff::/20"), ipaddress.ip_network("5f00::/16"))


#: Last labels that no public name has: this machine (RFC 6761), the link (RFC 6762), and what
#: private networks call themselves (RFC 6762 appendix G; `internal` is the clouds' as well).
_LOCAL_LABELS = frozenset(
    ("localhost", "local", "intranet", "internal", "private", "corp", "home", "lan")
)


def is_literal(host: str) -> bool:
    """Return whether the host of a `Url` is an address: no name has a colon or ends in a number."""
    return ":" in host or host.rpartition(".")[2].isdigit()


def is_public_name(host: str) -> bool:
    """Return whether a name, by its labels alone, is one of the public internet.

    False for names of one label, which networks complete as they like, and for names below a label
    of private use. Its addresses have to be checked, too.
    """
    labels = host.rstrip(".").split(".")
    return len(labels) > 1 and labels[-1] not in _LOCAL_LABELS and labels[-2:] != ["home", "arpa"]


@lru_cache(maxsize=8192)
def is_public(address: str) -> bool:
    """Return whether `address`, an IPv4 or IPv6 literal, is on the public internet.

    False for loopback, private, shared (RFC 6598), link-local, multicast and reserved ranges,
    for metadata services, and for IPv6 forms of such IPv4 addresses.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        reserved = (_NAT64_LOCAL, _SITE_LOCAL, _COMPATIBLE, *_LATER)
        if any(ip in network for network in reserved):
            return False
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip in _SIX_TO_FOUR:
            return is_public(str(ipaddress.IPv4Address((int(ip) >> 80) & 0xFFFFFFFF)))
    elif ip in _PROTOCOLS:
        return False
    if any(ip in network for network in _SERVICES):
        return False
    if ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        return False
    return ip.is_global and address not in _METADATA
