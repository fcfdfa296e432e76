"""The hosts of a `no_proxy` list, which are asked without a proxy. Pure.

The list is read as curl reads it (curl(1), NO_PROXY), with the ports of Python's urllib: a comma-
or space-separated list of names, which include all names below them, with or without a leading
dot; of addresses; of blocks, `ADDRESS/BITS`; and `*` for everything. `:PORT` after a name or an
address limits the entry to that port.
"""

from __future__ import annotations

import ipaddress
import re

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: `[ADDRESS]` or a name, and a port.
_WITH_PORT = re.compile(r"(?:\[([^]]*)\]|([^:]*))(?::([0-9]*))?")


class NoProxy:
    """A `no_proxy` list."""

    def __init__(self, text: str) -> None:
        self._all = False
        self._names: set[tuple[str, str]] = set()  # name and port, "" for all ports
        self._networks: list[tuple[_Network, str]] = []
        for entry in text.replace(",", " ").split():
            self._add(entry.lower())

    def _add(self, entry: str) -> None:
        if entry == "*":
            self._all = True
            return
        match = _WITH_PORT.fullmatch(entry)
        # An IPv6 address needs no brackets where no port follows.
        host = entry if match is None else match[1] or match[2] or ""
        port = "" if match is None else match[3] or ""
        try:
            self._networks.append((ipaddress.ip_network(host, strict=False), port))
        except ValueError:
            # curl does not know `*.example`, but people write it, and mean `.example`.
            name = host.removeprefix("*").strip(".")
            if name:
                self._names.add((name, port))

    def holds(self, host: str, port: int) -> bool:
        """Return whether the list has `host`: a lower-case name, or an address without brackets."""
        if self._all:
            return True
        ports = ("", str(port))
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            name = host.rstrip(".")
            while name:
                if any((name, wanted) in self._names for wanted in ports):
                    return True
                name = name.partition(".")[2]
            return False
        return any(address in network and wanted in ports for network, wanted in self._networks)
