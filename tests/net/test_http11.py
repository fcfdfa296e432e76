"""One exchange on a socket pair: cases that the suite over the fetchers does not reach."""

from __future__ import annotations

import socket
import struct
import tracemalloc

import pytest
import trio

from img2ds.net.budget import Budget, Lease
from img2ds.net.context import FetchContext
from img2ds.net.deadline import Deadline
from img2ds.net.error import ClosedEarly, FetchError
from img2ds.net.http11_exchange import (
    FREE_FRAMING,
    MAX_DRAIN,
    MAX_HEAD,
    READS_A_TURN,
    Exchange,
)
from img2ds.net.http11_head import head_end
from img2ds.net.stream import ByteStream
from tests.run_on_virtual_clock import run

REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


def context(lease: Lease | None = None) -> FetchContext:
    return FetchContext(lease or Budget(1 << 30).lease(), Deadline(10.0, 60.0))


class Line:
    """An exchange and the server's end of its connection; a context manager."""

    def __init__(self, lease: Lease | None = None) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.settimeout(0)
        self.stream = ByteStream(ours)
        self.exchange = Exchange(self.stream, context(lease), bytearray(MAX_HEAD))

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()
        self.peer.close()

    def say(self, data: bytes) -> None:
        assert self.peer.send(data) == len(data)


def head_of(size: int) -> bytes:
    """A whole head of `size` bytes."""
    start, end = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX: ", b"\r\n\r\n"
    return start + b"x" * (size - len(start) - len(end)) + end


def test_the_largest_head() -> None:
    async def main() -> None:
        with Line() as line:
            line.say(head_of(MAX_HEAD) + b"body")
            head = await line.exchange.request(REQUEST)
            assert bytes(await line.exchange.body(head, 100)) == b"body"
            assert line.exchange.reusable
        with Line() as line:
            line.say(head_of(MAX_HEAD + 1) + b"body")
            with pytest.raises(FetchError) as caught:
                await line.exchange.request(REQUEST)
        assert caught.value.failure.reason == "header_too_large"

    run(main)


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
)
def test_an_unrequested_protocol_switch(sent: bytes) -> None:
    async def main() -> None:
        with Line() as line:
            line.say(sent)
            with pytest.raises(FetchError) as caught:
                await line.exchange.request(REQUEST)
        assert caught.value.failure.reason == "protocol_error"

    run(main)


def test_an_end_before_the_first_byte_differs_from_a_later_one() -> None:
    async def main() -> None:
        for sent, early in ((b"", True), (b"HTTP/1.1 20", False)):
            with Line() as line:
                line.say(sent)
                line.peer.shutdown(socket.SHUT_WR)
                with pytest.raises(FetchError) as caught:
                    await line.exchange.request(REQUEST)
                assert caught.value.failure.reason == "closed_before_reply"
                assert isinstance(caught.value, ClosedEarly) is early

    run(main)


@pytest.mark.parametrize(
    ("linger", "reason"), [(True, "connect_reset"), (False, "closed_before_reply")]
)
def test_a_connection_that_is_gone_before_the_request_is_sent(linger: bool, reason: str) -> None:
    """A reset is distinguished from a close, whichever call finds it first."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            peer, _ = listener.accept()
        with ours, peer:
            ours.setblocking(False)
            if linger:  # close() sends a reset
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            exchange = Exchange(ByteStream(ours), context(), bytearray(MAX_HEAD))
            with pytest.raises(ClosedEarly) as caught:
                await exchange.request(REQUEST)
            assert caught.value.failure.reason == reason

    run(main)


@pytest.mark.parametrize(
    ("sent", "reusable"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", True),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngon", False),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone!", False),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: Close\r\n\r\ngone", False),
        (b"HTTP/1.0 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", False),
        (b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", False),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9999\r\n\r\n", True),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % (MAX_DRAIN + 1), False),
    ],
)
def test_what_is_not_wanted_is_skipped_where_that_costs_nothing(
    sent: bytes, reusable: bool
) -> None:
    async def main() -> None:
        with Line() as line:
            line.say(sent)
            head = await line.exchange.request(REQUEST)
            line.exchange.skip(head)
            assert line.exchange.reusable is reusable

    run(main)


def test_a_skipped_body_is_taken_from_the_socket() -> None:
    async def main() -> None:
        with Line() as line:
            line.say(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n")
            head = await line.exchange.request(REQUEST)
            line.say(b"not there")
            line.exchange.skip(head)
            assert line.exchange.reusable
            assert line.stream.receive_now(1) is None

    run(main)


def test_waiting_for_the_budget_is_not_the_servers_time() -> None:
    """Half a body is there; the other half may be read 100 s later, when there is room."""

    async def main() -> None:
        budget = Budget(10)
        other = budget.lease()
        with Line(budget.lease()) as line:
            line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
            head = await line.exchange.request(REQUEST)
            line.say(b"half")
            other.add(10)
            got: list[bytes] = []

            async def read() -> None:
                got.append(bytes(await line.exchange.body(head, 100)))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await trio.sleep(100)
                assert got == []
                other.release()
            assert got == [b"halfhalf"]

    run(main)


BODY = b"ab\r\n\r\ncd\n\nef"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 12\n\n",
        b"HTTP/1.1 200 OK\nContent-Length: 12\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Length: 12\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header at all\r\nContent-Length: 12\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 12\r\nContent-Length: 12\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 12\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: h2,h2c\r\nContent-Length: 12\r\n\r\n",
    ],
)
def test_heads_that_are_not_as_they_should_be(head: bytes) -> None:
    async def main() -> None:
        with Line() as line:
            line.say(head + BODY)
            found = await line.exchange.request(REQUEST)
            assert bytes(await line.exchange.body(found, 100)) == BODY
            assert line.exchange.reusable

    run(main)


def test_lengths_that_differ_are_not_chosen_from() -> None:
    async def main() -> None:
        with Line() as line:
            line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody")
            with pytest.raises(FetchError) as caught:
                await line.exchange.request(REQUEST)
        assert caught.value.failure.reason == "protocol_error"

    run(main)


def test_codings_in_two_headers_are_two() -> None:
    async def main() -> None:
        with Line() as line:
            line.say(
                b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Encoding: gzip\r\n\r\n"
            )
            found = await line.exchange.request(REQUEST)
            assert found.fields[b"content-encoding"] == b"deflate,gzip"

    run(main)


def test_tiny_chunks_take_no_more_memory_than_large_ones() -> None:
    size = 100_000

    async def main() -> None:
        with Line() as line:
            line.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            head = await line.exchange.request(REQUEST)

            async def send() -> None:
                peer = trio.socket.from_stdlib_socket(line.peer)
                data = memoryview(b"2\r\nab\r\n" * (size // 2) + b"0\r\n\r\n")
                while data:
                    data = data[await peer.send(data) :]

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                tracemalloc.start()
                try:
                    assert len(await line.exchange.body(head, 4 * size)) == size
                    # The stream itself, seven bytes a chunk, is counted with the sender.
                    assert tracemalloc.get_traced_memory()[1] < 1_500_000
                finally:
                    tracemalloc.stop()

    run(main)


@pytest.mark.parametrize("part", ["head", "body", "chunks", "until close"])
def test_other_rows_run_while_much_arrives(part: str) -> None:
    """What has arrived is read without waiting, so that a fast server could keep the loop."""
    pieces = 10 * READS_A_TURN
    head = b"HTTP/1.1 200 OK\r\n"
    rest = {
        "head": b"X: " + b"x" * pieces + b"\r\nContent-Length: 0\r\n\r\n",
        "body": b"Content-Length: %d\r\n\r\n" % pieces + b"x" * pieces,
        "chunks": b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * pieces + b"0\r\n\r\n",
        "until close": b"\r\n" + b"x" * pieces,
    }[part]

    class ByteByByte(ByteStream):
        """A stream from which each read gets one byte, at once."""

        left = memoryview(head + rest)

        async def receive_into(self, buffer: memoryview, deadline: Deadline) -> int:
            count = min(1, len(self.left))
            buffer[:count] = self.left[:count]
            self.left = self.left[count:]
            return count

    async def main() -> None:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        with Line() as line:
            exchange = Exchange(ByteByByte(line.stream.sock), context(), bytearray(MAX_HEAD))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other)
                got = await exchange.request(REQUEST)
                body = await exchange.body(got, 1 << 20)
                nursery.cancel_scope.cancel()
        assert len(body) == (0 if part == "head" else pieces)
        assert turns >= 9

    run(main)


def test_a_head_in_pieces_is_searched_once() -> None:
    """Its end may be split anywhere."""
    head = b"HTTP/1.1 200 OK\r\nX: \r\r\n\rx\r\n\r\nrest"
    end = head.index(b"rest")
    for cut in range(1, len(head)):
        found = head_end(head[:cut])
        assert found == (end if cut >= end else 0)
        assert head_end(head, max(0, cut - 3)) == end or cut > end


@pytest.mark.parametrize(
    ("part", "end"),
    [(b"1\r\nx\r\n", b""), (b"1;name=value\r\nx\r\n", b""), (b"X: y\r\n", b"0\r\n")],
    ids=["chunks", "extensions", "trailers"],
)
def test_framing_without_a_body_ends_a_response(part: bytes, end: bytes) -> None:
    """A chunk of a byte takes as long as one of 64 kB."""
    sent = 0

    async def main() -> None:
        with Line() as line:
            line.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            head = await line.exchange.request(REQUEST)

            async def send() -> None:
                nonlocal sent
                peer = trio.socket.from_stdlib_socket(line.peer)
                await peer.send(end)
                data = part * (100_000 // len(part))
                while True:
                    view = memoryview(data)
                    while view:
                        count = await peer.send(view)
                        sent += count
                        view = view[count:]

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                with pytest.raises(FetchError) as caught:
                    await line.exchange.body(head, 50_000_000)
                nursery.cancel_scope.cancel()
        assert caught.value.failure.reason == "protocol_error"
        assert sent < 2 * FREE_FRAMING

    run(main)


def test_small_chunks_of_honest_servers_are_read() -> None:
    async def main() -> None:
        with Line() as line:
            line.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            head = await line.exchange.request(REQUEST)

            async def send() -> None:
                peer = trio.socket.from_stdlib_socket(line.peer)
                data = memoryview(b"10\r\n0123456789abcdef\r\n" * 200_000 + b"0\r\n\r\n")
                while data:
                    data = data[await peer.send(data) :]

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                assert len(await line.exchange.body(head, 50_000_000)) == 3_200_000

    run(main)
