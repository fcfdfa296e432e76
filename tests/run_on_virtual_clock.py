"""Runs an async test on the virtual clock, on loopback alone, and never for ever.

`run` is the whole interface of tests to trio: time limits pass at once, a connection to any
address but loopback fails as on a machine without a network and then fails the test.
"""

from __future__ import annotations

import errno
import signal
import socket
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NoReturn, TypeVar

import pytest
import trio
from trio.testing import MockClock

from tests.server.names import NameServer
from tests.server.web import Server

T = TypeVar("T")

#: Virtual seconds that a test may take: several times `max_time`.
LIMIT = 300.0
#: Real seconds without any event before the clock jumps. Loopback delivers at once, but for a
#: kernel that is busy and puts packets off: a jump past them would be a time-out that never was.
IDLE = 0.005
#: Real seconds after which a test that spins without time passing is broken off.
REAL_LIMIT = 60


def run(main: Callable[[], Awaitable[T]], *, limit: float = LIMIT) -> T:
    """The result of `main`, run on a clock that jumps when all is idle.

    Raises:
        trio.TooSlowError: `main` took more than `limit` virtual seconds.
        AssertionError: it tried to connect to an address that is not loopback.
    """

    async def limited() -> T:
        with trio.fail_after(limit):
            return await main()

    with loopback_only(), _real_limit(), warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)  # a socket left open
        try:
            return trio.run(limited, clock=MockClock(autojump_threshold=IDLE))
        except BaseException as error:
            raise _innermost(error) from None


def _innermost(error: BaseException) -> BaseException:
    """The one exception in groups of one: what a test or its reader looks for."""
    inner: Sequence[BaseException]
    while len(inner := getattr(error, "exceptions", ())) == 1:
        error = inner[0]
    return error


@asynccontextmanager
async def serving(*servers: Server | NameServer) -> AsyncIterator[None]:
    """Serve while the block runs."""
    async with trio.open_nursery() as nursery:
        for server in servers:
            await nursery.start(server.serve)
        yield
        nursery.cancel_scope.cancel()


@contextmanager
def loopback_only() -> Iterator[None]:
    """Every connect() elsewhere gets ENETUNREACH; after one over TCP, an AssertionError.

    Datagram sockets may try: connecting one sends nothing, and asks for the route alone.
    """
    strays: list[Any] = []
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def refused(sock: socket.socket, address: Any) -> bool:
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        if address[0] == "::1" or address[0].startswith("127."):
            return False
        if sock.type == socket.SOCK_STREAM:
            strays.append(address)
        return True

    def guarded_connect(sock: socket.socket, address: Any) -> None:
        if refused(sock, address):
            raise OSError(errno.ENETUNREACH, "tests connect to loopback only")
        connect(sock, address)

    def guarded_connect_ex(sock: socket.socket, address: Any) -> int:
        return errno.ENETUNREACH if refused(sock, address) else connect_ex(sock, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        yield
    assert not strays, f"tried to connect to {strays}"


@contextmanager
def _real_limit() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def broken_off(number: int, frame: Any) -> NoReturn:
        raise TimeoutError(f"still running after {REAL_LIMIT} real seconds")

    before = signal.signal(signal.SIGALRM, broken_off)
    signal.alarm(REAL_LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
