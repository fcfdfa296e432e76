"""Connections to a real server: silent, slow and too many ones lock nobody out."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import pytest

from laion.web import guarded_protocol
from laion.web.connection_table import ConnectionLimits
from laion.web.options import ServeOptions
from tests.laion.web.guarded_server import (
    TIMEOUT,
    SteeredApp,
    answer,
    ask,
    connect,
    guarded,
    is_closed,
    status,
)

#: Seconds; where it matters that they pass.
SHORT = 0.1
LONG = 600.0


@pytest.fixture
def app() -> SteeredApp:
    return SteeredApp()


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """Closes connections in the end."""
    with ExitStack() as stack:
        yield stack


def limits(**values: float) -> ConnectionLimits:
    """Limits that are not reached, but for those given."""
    long = {"head_seconds": LONG, "idle_seconds": LONG, "write_seconds": LONG}
    return ConnectionLimits(**{**long, **values})  # type: ignore[arg-type]


def test_520_idle_connections_lock_nobody_out(address: str, held: ExitStack) -> None:
    """By `laion serve` with its defaults."""
    place = urlsplit(address)
    server = (place.hostname or "", place.port or 0)
    each = ServeOptions(index=("x",)).max_client_connections
    idle = [held.enter_context(connect(server)) for _ in range(520)]
    other = held.enter_context(connect(server, "127.0.0.2"))
    assert status(other, "/api/health") == 200
    same = held.enter_context(connect(server))
    assert status(same, "/api/health") == 200
    assert status(idle[-1], "/api/health") == 200
    # Those that waited longest made room; `same` was one more.
    for connection in idle[: 520 - each + 1]:
        assert is_closed(connection)
    kept = idle[520 - each + 1]
    assert status(kept, "/api/health") == 200


def test_where_all_connections_of_a_client_are_busy_it_gets_503(
    app: SteeredApp, held: ExitStack
) -> None:
    with guarded(app, limits(per_address=2, total=10)) as (server, table):
        busy = [held.enter_context(connect(server)) for _ in range(2)]
        for connection in busy:
            ask(connection, "/wait")
            assert app.entered.acquire(timeout=TIMEOUT)
        third = held.enter_context(connect(server))
        ask(third)
        refused = answer(third)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in refused
        assert refused.endswith(b'\r\n\r\n{"error":"too many connections"}')
        assert is_closed(third)
        assert status(held.enter_context(connect(server, "127.0.0.2"))) == 200
        app.go.set()
        assert all(answer(connection).startswith(b"HTTP/1.1 200 ") for connection in busy)
        assert status(held.enter_context(connect(server))) == 200
        assert (table.refused, table.evicted) == (1, 1)


def test_a_trusted_proxy_has_as_many_connections_as_there_are(
    app: SteeredApp, held: ExitStack
) -> None:
    with guarded(app, limits(per_address=1, total=4), "127.0.0.0/8") as (server, table):
        opened = [held.enter_context(connect(server)) for _ in range(4)]
        assert [status(connection) for connection in opened] == [200] * 4
        assert table.evicted == 0
        assert status(held.enter_context(connect(server))) == 200
        assert is_closed(opened[0])


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "])
def test_a_head_that_does_not_come_is_not_waited_for(
    app: SteeredApp, held: ExitStack, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(guarded_protocol, "_INTERVAL", SHORT)
    with guarded(app, limits(head_seconds=SHORT)) as (server, table):
        connection = held.enter_context(connect(server))
        with suppress(ConnectionError):
            connection.sendall(sent)
        assert is_closed(connection)
        assert table.expired == 1


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP"])
def test_later_heads_neither(
    app: SteeredApp, held: ExitStack, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(guarded_protocol, "_INTERVAL", SHORT)
    with guarded(app, limits(idle_seconds=LONG if sent else SHORT)) as (server, table):
        connection = held.enter_context(connect(server))
        assert status(connection) == 200
        if sent:
            table.limits = limits(head_seconds=SHORT)
            connection.sendall(sent)
        assert is_closed(connection)
        assert table.expired == 1


def test_a_response_that_is_not_taken_is_given_up(
    app: SteeredApp, held: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_protocol, "_INTERVAL", SHORT)
    with guarded(app, limits(write_seconds=SHORT)) as (server, table):
        connection = held.enter_context(connect(server))
        ask(connection, "/endless")
        assert app.ended.wait(TIMEOUT)
        assert table.expired == 1
        assert status(held.enter_context(connect(server))) == 200


def test_a_request_may_take_its_time(
    app: SteeredApp, held: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another connection expires meanwhile."""
    monkeypatch.setattr(guarded_protocol, "_INTERVAL", SHORT)
    with guarded(app, limits()) as (server, table):
        slow = held.enter_context(connect(server))
        ask(slow, "/wait")
        assert app.entered.acquire(timeout=TIMEOUT)
        table.limits = limits(head_seconds=SHORT)
        assert is_closed(held.enter_context(connect(server)))
        app.go.set()
        assert answer(slow).startswith(b"HTTP/1.1 200 ")


def test_a_head_without_end_is_refused(app: SteeredApp, held: ExitStack) -> None:
    with guarded(app, limits(head_bytes=1000)) as (server, _):
        for repeat in range(2):  # also after a request
            connection = held.enter_context(connect(server))
            if repeat:
                assert status(connection) == 200
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + b"x" * 1000)
            assert answer(connection).startswith(b"HTTP/1.1 431 ")


def test_a_body_is_no_head(app: SteeredApp, held: ExitStack) -> None:
    with guarded(app, limits(head_bytes=1000)) as (server, _):
        connection = held.enter_context(connect(server))
        head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 300000\r\n\r\n"
        for _ in range(2):  # the app does not read it
            connection.sendall(head)
            for _ in range(30):
                connection.sendall(b"x" * 10_000)
            assert answer(connection).startswith(b"HTTP/1.1 200 ")
        for _ in range(30):  # nor are many heads one
            assert status(connection) == 200


def test_requests_that_follow_each_other_at_once_are_all_answered(
    app: SteeredApp, held: ExitStack
) -> None:
    with guarded(app, limits(per_address=1)) as (server, table):
        connection = held.enter_context(connect(server))
        connection.sendall(3 * b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        received = b""
        while received.count(b"HTTP/1.1 200 ") < 3 or not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(65_536)
        # The connection is idle: it makes room.
        assert status(held.enter_context(connect(server))) == 200
        assert is_closed(connection)
        assert table.evicted == 1


def test_a_client_that_hangs_up_takes_no_room(app: SteeredApp, held: ExitStack) -> None:
    with guarded(app, limits(per_address=1)) as (server, table):
        for _ in range(3):
            connection = connect(server)
            assert status(connection) == 200
            connection.shutdown(socket.SHUT_WR)
            connection.close()
        assert status(held.enter_context(connect(server))) == 200
        assert table.refused == 0
