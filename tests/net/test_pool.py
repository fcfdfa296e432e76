"""The pool of idle connections: newest first, bounded, nothing stale handed out."""

from __future__ import annotations

import socket

import trio

from img2ds.congestion.machine import Machine
from img2ds.congestion.path import NetworkPath
from img2ds.net.http11 import Http11Connection
from img2ds.net.pool import MAX_IDLE, Pool
from img2ds.net.stream import ByteStream
from tests.run_on_virtual_clock import run

A, B = ("http", "a.example", 80), ("http", "b.example", 80)


class Pair:
    """A connection and its other end."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self._ours = ours
        self.connection = Http11Connection(
            ByteStream(ours), b"", 0, bytearray(), NetworkPath(Machine())
        )

    @property
    def is_closed(self) -> bool:
        return self._ours.fileno() < 0

    def close(self) -> None:
        self.connection.close()
        self.peer.close()


def test_the_newest_of_its_origin_comes_first() -> None:
    async def main() -> None:
        pool, pairs = Pool(10, NetworkPath(Machine())), [Pair() for _ in range(3)]
        first, second, other = (pair.connection for pair in pairs)
        pool.give(A, first)
        pool.give(B, other)
        pool.give(A, second)
        assert [pool.take(A), pool.take(A), pool.take(A)] == [second, first, None]
        assert [pool.take(B), pool.take(B)] == [other, None]
        assert first.used
        for pair in pairs:
            pair.close()

    run(main)


def test_the_oldest_makes_room() -> None:
    async def main() -> None:
        pool, pairs = Pool(2, NetworkPath(Machine())), [Pair() for _ in range(4)]
        for pair, origin in zip(pairs, (A, B, A, B), strict=True):
            pool.give(origin, pair.connection)
        assert [pair.is_closed for pair in pairs] == [True, True, False, False]
        assert pool.take(A) is pairs[2].connection
        pool.close()
        assert pairs[3].is_closed
        assert pool.take(B) is None
        for pair in pairs:
            pair.close()

    run(main)


def test_a_taken_connection_leaves_the_pool() -> None:
    async def main() -> None:
        pool, pairs = Pool(1, NetworkPath(Machine())), [Pair() for _ in range(3)]
        taken, other, last = pairs
        pool.give(A, taken.connection)
        assert pool.take(A) is taken.connection
        pool.give(A, other.connection)  # within the limit of one
        pool.give(B, last.connection)
        assert [pair.is_closed for pair in pairs] == [False, True, False]
        pool.close()
        assert [pair.is_closed for pair in pairs] == [False, True, True]
        for pair in pairs:
            pair.close()

    run(main)


def test_none_is_kept_for_long() -> None:
    async def main() -> None:
        pool, old, new = Pool(10, NetworkPath(Machine())), Pair(), Pair()
        pool.give(A, old.connection)
        await trio.sleep(MAX_IDLE - 1)
        pool.give(A, new.connection)
        await trio.sleep(2)
        assert pool.take(A) is new.connection
        assert pool.take(A) is None
        assert old.is_closed
        old.close()
        new.close()

    run(main)


def test_giving_drops_what_is_too_old_elsewhere() -> None:
    async def main() -> None:
        pool, old, new = Pool(10, NetworkPath(Machine())), Pair(), Pair()
        pool.give(A, old.connection)
        await trio.sleep(MAX_IDLE + 1)
        pool.give(B, new.connection)
        assert old.is_closed
        pool.close()
        old.close()
        new.close()

    run(main)


def test_a_connection_with_unasked_bytes_is_not_handed_out() -> None:
    async def main() -> None:
        pool, good, ended, stray = Pool(10, NetworkPath(Machine())), Pair(), Pair(), Pair()
        for pair in (good, ended, stray):
            pool.give(A, pair.connection)
        ended.peer.close()
        stray.peer.send(b"HTTP/1.1 200 OK\r\n")
        assert pool.take(A) is good.connection
        assert stray.is_closed
        assert ended.is_closed
        for pair in (good, ended, stray):
            pair.close()

    run(main)
