"""Which DNS servers to ask, and what the hosts file says: from the system, or from the options."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from img2ds.core.failure import UsageError


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """Servers as (address, port), and the addresses of each name of the hosts file."""

    servers: tuple[tuple[str, int], ...]
    hosts: dict[str, tuple[str, ...]]


def system_config(servers: Sequence[str] = ()) -> DnsConfig:
    """Return the system's servers, or the given ones (ADDRESS or ADDRESS:PORT), and its hosts file.

    Raises:
        UsageError: a given server is not an address.
    """
    chosen = tuple(_server(text) for text in servers) or read_resolv_conf(Path("/etc/resolv.conf"))
    return DnsConfig(chosen, read_hosts(Path("/etc/hosts")))


def _server(text: str) -> tuple[str, int]:
    address, port = text, "53"
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest[1:] or "53"
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    if address_family(address) is None or not port.isdigit():
        raise UsageError(f"--dns_servers takes addresses such as 9.9.9.9 or [::1]:53, got {text!r}")
    return address, int(port)


def address_family(address: str) -> socket.AddressFamily | None:
    """Return AF_INET or AF_INET6 for an address literal, None for anything else."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address.partition("%")[0])
        except (OSError, ValueError):
            continue
        return family
    return None


def read_resolv_conf(path: Path) -> tuple[tuple[str, int], ...]:
    """Return the servers of a resolv.conf, this machine's when it names none."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    fields = (line.split() for line in lines)
    found = [
        (line[1], 53)
        for line in fields
        if len(line) > 1 and line[0] == "nameserver" and address_family(line[1]) is not None
    ]
    return tuple(found) or (("127.0.0.1", 53),)


def read_hosts(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the addresses of each name of a hosts file, in lower case."""
    hosts: dict[str, tuple[str, ...]] = {}
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        if address_family(address) is None:
            continue
        for name in names:
            known = hosts.get(name.lower(), ())
            hosts[name.lower()] = (*known, address)
    return hosts


def has_ipv6_route() -> bool:
    """Return whether this machine has a route to the public IPv6 internet; sends nothing."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect(("2001:db8::1", 53))
    except OSError:
        return False
    return True
