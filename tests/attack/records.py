"""TLS in records of one byte, and sessions nobody asked for: many of them in few calls."""

from __future__ import annotations

import trio

from tests.server.web import Peer

#: Records that are sent at a time.
_AT_ONCE = 2000


async def send_in_records(peer: Peer, data: bytes, size: int = 1) -> None:
    """Send `data` in records of `size` bytes; without TLS, as it is."""
    stream = peer.stream
    if not isinstance(stream, trio.SSLStream):
        await peer.send(data)
        return
    # A call of send_all for each record would take the server longer than it takes the client.
    secured, outgoing = stream._ssl_object, stream._outgoing
    await stream.send_all(data[:size])  # with what trio holds back until then
    for start in range(size, len(data), size * _AT_ONCE):
        end = min(start + size * _AT_ONCE, len(data))
        for at in range(start, end, size):
            secured.write(data[at : min(at + size, end)])
        await peer.tcp.send_all(outgoing.read())
