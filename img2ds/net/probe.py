"""Asks the network whether it is there: a host that answered before, or the name servers."""

from __future__ import annotations

import contextlib
import random

import trio

from img2ds.congestion.path import NetworkPath
from img2ds.core.failure import Reason
from img2ds.net.deadline import Deadline
from img2ds.net.error import FetchError
from img2ds.net.resolver import Resolver
from img2ds.net.tcp import connect_tcp

#: Seconds that an answer may take: two SYNs, or a question that is repeated once.
TIMEOUT = 3.0
#: Known addresses that are asked at once, and the latest ones of which a canary asks one.
HOSTS, CANARY_HOSTS = 4, 64


async def probe(path: NetworkPath, resolver: Resolver) -> tuple[bool, bool]:
    """Return whether anything answered, and whether hosts were asked, not name servers."""
    addresses = path.known_addresses(HOSTS)
    if not addresses:
        return await resolver.answers(TIMEOUT), False
    answered = False
    deadline = Deadline(TIMEOUT, TIMEOUT)

    async def ask(address: tuple[str, int], scope: trio.CancelScope) -> None:
        nonlocal answered
        try:
            (await connect_tcp([address[0]], address[1], deadline, path)).close()
        except FetchError as error:
            if error.failure.reason in _SILENCE:
                return
        answered = True
        scope.cancel()

    async with trio.open_nursery() as nursery:
        for address in addresses:
            nursery.start_soon(ask, address, nursery.cancel_scope)
    return answered, True


async def send_canary(path: NetworkPath) -> None:
    """Connect to an address that answered before; `path` learns what becomes of it."""
    addresses = path.known_addresses(CANARY_HOSTS)
    if addresses:
        host, port = random.choice(addresses)
        with contextlib.suppress(FetchError):
            (await connect_tcp([host], port, Deadline(TIMEOUT, TIMEOUT), path)).close()


_SILENCE = frozenset((
    Reason.CONNECT_TIMEOUT.value, Reason.MAX_TIME.value, Reason.NETWORK_UNREACHABLE.value,
))  # fmt: skip
