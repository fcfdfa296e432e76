"""Behaviours of a server right after accept, before any request.

Each greeting with the reasons that contracts.md names for it, over http and over https.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from tests.server.web import Greeting, Peer, reply

#: A TLS alert record: fatal, unrecognized_name (RFC 8446 6.2).
_UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"


async def resets_at_once(peer: Peer) -> bool:
    """A reset at once."""
    peer.reset()
    return False


async def resets_after_a_word(peer: Peer) -> bool:
    """A reset when the client has begun to speak: with TLS, in the handshake."""
    await peer.tcp.receive_some()
    peer.reset()
    return False


async def closes_at_once(peer: Peer) -> bool:
    """A close in good order; what the client sends is taken, so that no reset follows."""
    await peer.tcp.send_eof()
    async for _ in peer.tcp:
        pass
    return False


async def never_speaks(peer: Peer) -> bool:
    """Accepts, and that was all."""
    await trio.sleep_forever()


async def speaks_plain_http(peer: Peer) -> bool:
    """What nginx answers to TLS on a port for http."""
    await peer.tcp.receive_some()
    await peer.send(reply(b"plain HTTP, please", 400, "text/plain", connection="close"))
    return False


async def stalls_in_handshake(peer: Peer) -> bool:
    """Takes the ClientHello, sends the first bytes of a record, and no more."""
    await peer.tcp.receive_some()
    await peer.send(b"\x16\x03\x03\x00")
    await trio.sleep_forever()


async def dribbles_in_handshake(peer: Peer) -> bool:
    """A long handshake record at a byte every 2 s: silence never lasts."""
    await peer.tcp.receive_some()
    await peer.send(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
    while True:
        await trio.sleep(2)
        await peer.send(b"\x03")


async def refuses_the_name(peer: Peer) -> bool:
    """A fatal alert instead of a handshake."""
    await peer.tcp.receive_some()
    await peer.send(_UNRECOGNIZED_NAME)
    return False


async def speaks_late(peer: Peer) -> bool:
    """Proceeds normally after 5 s, within the default limits."""
    await trio.sleep(5)
    return True


@dataclass(frozen=True, slots=True)
class Case:
    """A greeting and the reason it must get; None where the fetch must succeed."""

    scheme: str
    greeting: Greeting
    reason: str | None


CASES = (
    Case("http", resets_at_once, "connect_reset"),
    Case("https", resets_at_once, "connect_reset"),
    Case("http", resets_after_a_word, "connect_reset"),
    Case("https", resets_after_a_word, "connect_reset"),
    Case("http", closes_at_once, "closed_before_reply"),
    Case("https", closes_at_once, "tls_error"),
    Case("http", never_speaks, "stalled"),
    Case("https", never_speaks, "connect_timeout"),
    Case("https", speaks_plain_http, "tls_error"),
    Case("https", stalls_in_handshake, "connect_timeout"),
    Case("https", dribbles_in_handshake, "max_time"),
    Case("https", refuses_the_name, "tls_error"),
    Case("http", speaks_late, None),
    Case("https", speaks_late, None),
)
