"""Which DNS servers to ask, and what the hosts file says: from the system, or from the options."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from img2ds.core.failure import UsageError

#: As in resolv.conf(5): at most so many dots, seconds and rounds.
_MOST = {"ndots": 15, "timeout": 30, "attempts": 5}


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """Servers as (address, port), the addresses of each name of the hosts file, and options.

    Attributes:
        search: domains that are appended to names with fewer than `ndots` dots.
        timeout: seconds that a question may take as long as no answer was measured.
        attempts: questions at least, before a name is said to fail.
        rotate: whether servers are asked in turn.
    """

    servers: tuple[tuple[str, int], ...]
    hosts: dict[str, tuple[str, ...]]
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout: float = 5.0
    attempts: int = 2
    rotate: bool = False

    def candidates(self, host: str) -> tuple[str, ...]:
        """Return the names to ask for, in order.

        A name with a dot is first asked for as it is, whatever `ndots` says: hosts of URLs are
        complete.
        """
        if host.endswith(".") or host.count(".") >= self.ndots:
            return (host,)
        longer = tuple(f"{host}.{domain}" for domain in self.search)
        return (host, *longer) if "." in host else (*longer, host)


def system_config(servers: Sequence[str] = ()) -> DnsConfig:
    """Return the system's servers, or the given ones (ADDRESS or ADDRESS:PORT), and its hosts file.

    Raises:
        UsageError: a given server is not an address.
    """
    chosen = tuple(parse_server(text) for text in servers)
    config = replace(
        read_resolv_conf(Path("/etc/resolv.conf")), hosts=read_hosts(Path("/etc/hosts"))
    )
    return replace(config, servers=chosen) if chosen else config


def parse_server(text: str) -> tuple[str, int]:
    """Return address and port of ADDRESS or ADDRESS:PORT. Raises UsageError."""
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


def read_resolv_conf(path: Path) -> DnsConfig:
    """Return what a resolv.conf(5) says; without servers there, this machine is the server."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    servers: list[tuple[str, int]] = []
    search: tuple[str, ...] = ()
    numbers: dict[str, int] = {}
    rotate = False
    for keyword, *values in (line.split() for line in lines if line.strip()):
        if keyword == "nameserver" and values and address_family(values[0]) is not None:
            servers.append((values[0], 53))
        elif keyword in ("search", "domain"):  # the last one counts
            search = tuple(domain.strip(".").lower() for domain in values if domain.strip("."))
        elif keyword == "options":
            rotate = rotate or "rotate" in values
            for name, _, number in (value.partition(":") for value in values):
                if name in _MOST and number.isdigit():
                    numbers[name] = min(int(number), _MOST[name])
    return DnsConfig(
        tuple(servers) or (("127.0.0.1", 53),),
        {},
        search,
        ndots=numbers.get("ndots", 1),
        timeout=float(max(numbers.get("timeout", 5), 1)),
        attempts=max(numbers.get("attempts", 2), 1),
        rotate=rotate,
    )


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
