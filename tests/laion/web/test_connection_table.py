"""Which connections are closed, and when: without sockets, by a clock that is set."""

from __future__ import annotations

from laion.web.connection_table import (
    MAX_REFUSED,
    Connection,
    ConnectionLimits,
    ConnectionTable,
)


class Clients:
    """A table whose time is set, and the names of its closed connections in `closed`."""

    def __init__(self, **limits: float) -> None:
        self.now = 0.0
        self.closed: list[str] = []
        self.table = ConnectionTable(
            ConnectionLimits(**limits),  # type: ignore[arg-type]
            lambda: self.now,
        )

    def open(self, name: str, client: str = "a") -> Connection:
        return self.table.open(client, lambda: self.closed.append(name))

    def at(self, now: float) -> list[str]:
        """Return what is closed by then."""
        self.now = now
        before = len(self.closed)
        self.table.close_expired()
        return self.closed[before:]


def test_at_its_limit_a_client_loses_the_connection_that_waited_longest() -> None:
    clients = Clients(per_address=3, total=100)
    first, second, third = (clients.open(name) for name in ("first", "second", "third"))
    clients.table.busy(first)
    clients.open("other", "b")
    assert not clients.open("fourth").is_refused
    assert clients.closed == ["second"]
    clients.table.busy(third)
    clients.table.idle(third)  # it waits since now
    clients.open("fifth")
    assert clients.closed == ["second", "fourth"]
    assert len(clients.table) == 4
    clients.table.closed(second)  # by its protocol, later
    assert len(clients.table) == 4


def test_where_all_are_busy_another_one_is_refused() -> None:
    clients = Clients(per_address=2, total=100)
    for name in ("first", "second"):
        clients.table.busy(clients.open(name))
    refused = clients.open("third")
    assert refused.is_refused
    assert not clients.open("other", "b").is_refused
    assert clients.closed == []
    clients.table.closed(refused)
    assert clients.open("fourth").is_refused
    assert clients.table.refused == 2


def test_the_limit_of_all_connections_holds_for_every_client() -> None:
    clients = Clients(per_address=2, total=3)
    busy = clients.open("a1")
    clients.table.busy(busy)
    clients.open("b1", "b")
    clients.open("c1", "c")
    assert not clients.open("d1", "d").is_refused
    assert clients.closed == ["b1"]
    assert len(clients.table) == 3


def test_connections_that_are_refused_are_few_and_take_no_room() -> None:
    clients = Clients(per_address=1, total=1)
    first = clients.open("first")
    clients.table.busy(first)
    for number in range(MAX_REFUSED + 3):
        assert clients.open(f"refused {number}").is_refused
    assert clients.closed == ["refused 0", "refused 1", "refused 2"]
    assert len(clients.table) == 1 + MAX_REFUSED
    clients.table.closed(first)
    assert not clients.open("next").is_refused


def test_proxies_may_have_any_number() -> None:
    clients = Clients(per_address=1, total=5)
    for number in range(5):
        assert not clients.open(f"proxy {number}", "").is_refused
    assert clients.closed == []
    clients.open("one more", "")
    assert clients.closed == ["proxy 0"]


def test_the_head_of_a_request_must_come_in_time() -> None:
    clients = Clients(head_seconds=10, idle_seconds=30)
    silent, asks = clients.open("silent"), clients.open("asks")
    clients.now = 9
    clients.table.busy(asks)
    assert clients.at(9.9) == []
    assert clients.at(10) == ["silent"]
    assert clients.at(500) == [], "a request may take its time"
    clients.table.idle(asks)
    assert clients.at(529) == []
    clients.table.first_byte(asks)
    assert clients.at(538.9) == []
    assert clients.at(539) == ["asks"]
    assert clients.table.expired == 2
    assert len(clients.table) == 0
    clients.table.closed(silent)


def test_an_idle_connection_is_closed() -> None:
    clients = Clients(head_seconds=10, idle_seconds=30)
    connection = clients.open("idle")
    clients.table.busy(connection)
    clients.now = 5
    clients.table.idle(connection)
    assert clients.at(34.9) == []
    assert clients.at(35) == ["idle"]


def test_a_response_must_be_taken() -> None:
    clients = Clients(write_seconds=20, idle_seconds=30)
    connection, other = clients.open("stuck"), clients.open("slow")
    for each in (connection, other):
        clients.table.busy(each)
        clients.table.stuck(each, True)
    clients.now = 15
    clients.table.stuck(other, False)
    clients.table.stuck(other, True)
    assert clients.at(20) == ["stuck"]
    clients.table.stuck(other, False)
    assert clients.at(100) == []


def test_a_refused_connection_does_not_stay() -> None:
    clients = Clients(per_address=1, head_seconds=10)
    clients.table.busy(clients.open("busy"))
    clients.open("refused")
    assert clients.at(10) == ["refused"]
