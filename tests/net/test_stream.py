"""Streams whose server sends next to nothing at a time: the work for it is bounded."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import trio

from img2ds.net.deadline import Deadline
from img2ds.net.error import FetchError
from img2ds.net.stream import ByteStream, TlsStream
from tests.run_on_virtual_clock import run
from tests.server import certificates

#: Records that a stream may read before it gives up: 10 us of CPU each.
MOST_RECORDS = 15_000


def deadline() -> Deadline:
    return Deadline(10.0, 60.0)


class Secured:
    """A `TlsStream` on a socket pair, after its handshake with a server in this process.

    Args:
        tickets: sessions that the server offers, which nobody asked for.
    """

    def __init__(self, tickets: int = 2) -> None:
        self._tickets = tickets
        ours, self._peer = socket.socketpair()
        ours.setblocking(False)
        client = ssl.create_default_context(cafile=certificates.bundle())
        self.stream = TlsStream(ByteStream(ours), client, "pics.example")

    async def start(self) -> None:
        """Do the handshake."""
        context = certificates.open_context()
        context.num_tickets = self._tickets
        incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._server = context.wrap_bio(incoming, self._outgoing, server_side=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._answer, incoming)
            await self.stream.handshake(deadline())
            await self.stream.send(b"GET", deadline())

    async def _answer(self, incoming: ssl.MemoryBIO) -> None:
        peer = trio.socket.from_stdlib_socket(self._peer)
        while True:
            try:
                self._server.do_handshake()
                break
            except ssl.SSLWantReadError:
                if self._outgoing.pending:
                    await peer.send(self._outgoing.read())
                incoming.write(await peer.recv(65_536))

    async def send(self, record: bytes, count: int) -> None:
        """Send what waits, and so many records."""
        peer = trio.socket.from_stdlib_socket(self._peer)
        for start in range(0, max(count, 1), 1000):
            for _ in range(start, min(start + 1000, count)):
                self._server.write(record)
            data = memoryview(self._outgoing.read())
            while data:
                data = data[await peer.send(data) :]

    async def receive(self, size: int) -> int:
        """Read so many bytes. Returns how many reads it took."""
        view, reads = memoryview(bytearray(65_536)), 0
        while size > 0:
            size -= await self.stream.receive_into(view, deadline())
            reads += 1
        return reads

    def close(self) -> None:
        self.stream.close()
        self._peer.close()


@contextmanager
def closing(secured: Secured) -> Iterator[Secured]:
    try:
        yield secured
    finally:
        secured.close()


def test_records_of_a_byte_end_a_response() -> None:
    async def main() -> None:
        with closing(Secured()) as secured:
            await secured.start()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(secured.send, b"x", 10 * MOST_RECORDS)
                with pytest.raises(FetchError) as caught:
                    await secured.receive(MOST_RECORDS)
                nursery.cancel_scope.cancel()
        assert caught.value.failure.reason == "protocol_error"

    run(main)


@pytest.mark.parametrize(("size", "count"), [(1, 5000), (100, 20_000), (200, 20_000)])
def test_short_records_of_honest_servers_are_read(size: int, count: int) -> None:
    async def main() -> None:
        with closing(Secured()) as secured:
            await secured.start()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(secured.send, b"x" * size, count)
                assert await secured.receive(size * count) == count

    run(main)


def test_sessions_without_end_are_no_response() -> None:
    """They give no data, so that a read of them would not end, nor let other rows run."""

    async def main() -> None:
        with closing(Secured(tickets=3000)) as secured:
            await secured.start()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(secured.send, b"", 0)
                with pytest.raises(FetchError) as caught:
                    await secured.receive(1)
                nursery.cancel_scope.cancel()
        assert caught.value.failure.reason == "protocol_error"

    run(main)


def test_a_connection_that_sends_sessions_without_end_is_not_idle() -> None:
    async def main() -> None:
        with closing(Secured(tickets=3000)) as secured:
            await secured.start()
            found: list[bytes | None] = []

            async def ask() -> None:
                while not found or found[-1] is None:
                    await trio.lowlevel.checkpoint()
                    found.append(secured.stream.receive_now(1))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(secured.send, b"", 0)
                await ask()
                nursery.cancel_scope.cancel()
        assert found[-1] == b""

    run(main)


@pytest.mark.parametrize(("size", "good"), [(1, False), (128, True)])
def test_packets_of_a_byte_end_a_response(size: int, good: bool) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        stream, view = ByteStream(ours), memoryview(bytearray(65_536))
        reads = 0
        with suppress(FetchError):
            while reads < 5000:
                peer.send(b"x" * size)
                await stream.receive_into(view, deadline())
                reads += 1
        stream.close()
        peer.close()
        assert reads == 5000 if good else 2000 < reads < 2100

    run(main)
