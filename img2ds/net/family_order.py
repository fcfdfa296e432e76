"""Which address family is tried first: IPv6, unless it does not work here (RFC 8305 4).

Many networks have IPv6 addresses and a route that leads nowhere. Each connection would give its
IPv6 address a head start for nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

import trio

#: Connections in a row that IPv4 won, after which it goes first.
LOST_ENOUGH = 4
#: Seconds after which IPv6 is tried first once more.
TRY_AGAIN = 60.0


class FamilyOrder:
    """Orders the addresses of hosts by what became of earlier connections."""

    def __init__(self) -> None:
        self._lost = 0
        self._try_at = 0.0

    def sort(self, addresses: Sequence[str]) -> Sequence[str]:
        """Return the addresses in the order to try them."""
        if self._lost < LOST_ENOUGH or ":" not in addresses[0]:
            return addresses
        now = trio.current_time()
        if now >= self._try_at:
            self._try_at = now + TRY_AGAIN
            return addresses
        return sorted(addresses, key=lambda address: ":" in address)

    def connected(self, addresses: Sequence[str], family: socket.AddressFamily) -> None:
        """Note the family of the one that answered first, of addresses tried in this order."""
        if family is socket.AF_INET6:
            self._lost = 0
        elif ":" in addresses[0]:
            self._lost += 1
            if self._lost == LOST_ENOUGH:
                self._try_at = trio.current_time() + TRY_AGAIN
