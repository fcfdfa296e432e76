"""SYNs that the path drops are sent again when it has room."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio

from img2ds.congestion.machine import Machine
from img2ds.congestion.path import FIRST_OVERDUE, OVERDUE_CONNECT, Attempt, NetworkPath
from img2ds.congestion.signals import Limit, Signal
from img2ds.core.failure import Reason
from img2ds.net import tcp
from img2ds.net.deadline import Deadline
from img2ds.net.error import FetchError
from img2ds.net.tcp import REDIAL_AFTER, connect_tcp
from tests.net.local_connector import full
from tests.run_on_virtual_clock import run

TIMEOUT = 10.0


class Path(NetworkPath):
    """Remembers when SYNs were sent."""

    def __init__(self, *, drops: bool) -> None:
        super().__init__(Machine())
        self.sent: list[float] = []
        self.machine.limits[Limit.DROPS] = drops

    def connect_started(self, before: Attempt | None = None) -> Attempt:
        assert (before is not None) == bool(self.sent)
        self.sent.append(trio.current_time())
        return super().connect_started(before)


async def dial(path: Path, address: tuple[str, int]) -> float:
    """Dial until the time is up. Returns how long that took."""
    began = trio.current_time()
    await path.connections.enter()
    with pytest.raises(FetchError) as caught:
        await connect_tcp([address[0]], address[1], Deadline(TIMEOUT, 60.0), path)
    assert caught.value.failure.reason == Reason.CONNECT_TIMEOUT.value
    path.connections.leave()
    return trio.current_time() - began


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The local port that each attempt asked for, 0 for any, and the one that it got.

    They differ where another process took the port in between, which tests beside this one may.
    """
    found: list[tuple[int, int]] = []
    made = tcp._Attempt.__init__

    def noted(self: tcp._Attempt, *args: Any, **named: Any) -> None:
        made(self, *args, **named)
        found.append((named.get("port", 0), self.port))

    monkeypatch.setattr(tcp._Attempt, "__init__", noted)
    return found


@pytest.mark.parametrize("drops", [True, False])
def test_a_syn_is_sent_again_only_where_the_path_drops_them(
    drops: bool, ports: list[tuple[int, int]]
) -> None:
    async def main() -> None:
        path = Path(drops=drops)
        with full("127.0.0.1") as listener:
            began = trio.current_time()
            assert await dial(path, listener.getsockname()) == pytest.approx(TIMEOUT)
        first = began + FIRST_OVERDUE
        times = [began, *(first + number * REDIAL_AFTER for number in range(6 if drops else 0))]
        assert path.sent == pytest.approx(times)
        assert len(ports) == len(times)
        # One place in a router's table.
        assert [asked for asked, _ in ports] == [0, *(got for _, got in ports[:-1])]
        assert path.machine.total(Signal.OPEN) == path.machine.total(Signal.CONNECTING) == 0
        assert path.machine.total(Signal.CONNECT_TIMEOUTS) == 1

    run(main)


def test_a_silent_host_is_asked_again_from_the_same_port(ports: list[tuple[int, int]]) -> None:
    """Later, by another row. That is no retransmission: the host may have woken up."""

    async def main() -> None:
        path = NetworkPath(Machine())
        with full("127.0.0.1") as listener:
            host, port = listener.getsockname()
            await path.connections.enter()
            for _ in range(2):
                with pytest.raises(FetchError):
                    await connect_tcp([host], port, Deadline(1.0, 60.0), path)
                await trio.sleep(20)
            listener.accept()[0].close()
            (await connect_tcp([host], port, Deadline(1.0, 60.0), path)).close()
            listener.accept()[0].close()
            (await connect_tcp([host], port, Deadline(1.0, 60.0), path)).close()
        assert [asked for asked, _ in ports] == [0, ports[0][1], ports[1][1], 0]
        assert path.machine.cell[Signal.ALL_RETRANSMITTED] == 0

    run(main)


def test_a_syn_that_was_sent_again_is_a_retransmission() -> None:
    async def main() -> None:
        path = Path(drops=True)
        with full("127.0.0.1") as listener:

            async def make_room() -> None:
                await trio.sleep(REDIAL_AFTER / 2)
                listener.accept()[0].close()

            began = trio.current_time()
            await path.connections.enter()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(make_room)
                host, port = listener.getsockname()
                sock = await connect_tcp([host], port, Deadline(TIMEOUT, 60.0), path)
            sock.close()
            assert trio.current_time() == pytest.approx(began + FIRST_OVERDUE)
        cell = path.machine.cell
        assert (cell[Signal.CLEAN_CONNECTS], cell[Signal.ALL_RETRANSMITTED]) == (0, 1)
        assert cell[Signal.CONNECTING] == cell[Signal.OVERDUE] == 0

    run(main)


def test_the_wait_for_room_takes_no_time_from_the_attempt() -> None:
    """Who waits at the gate gets the place of a SYN that was given up."""
    wait = 20.0

    async def main() -> None:
        path = Path(drops=True)
        path.machine.limits[Limit.CONNECTIONS] = 1

        async def pass_later() -> None:
            await trio.sleep(REDIAL_AFTER / 2)
            await path.connections.enter()
            await trio.sleep(wait)
            path.connections.leave()

        with full("127.0.0.1") as listener:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pass_later)
                began = trio.current_time()
                took = await dial(path, listener.getsockname())
        assert took == pytest.approx(TIMEOUT + wait)
        assert path.sent[:2] == pytest.approx([began, began + FIRST_OVERDUE + wait])

    run(main)


def test_a_syn_is_sent_again_sooner_where_connecting_is_quick() -> None:
    """But later each time, for the host may be a slow one. An idle connection makes room."""
    closed: list[float] = []

    async def main() -> None:
        path = Path(drops=True)

        def make_room() -> bool:
            closed.append(trio.current_time())
            return True

        path.make_room = make_room
        with full("127.0.0.1") as listener, socket.socket() as sock:
            path.connected(sock, ("127.0.0.2", 80), Attempt(trio.current_time(), 0.0, False))
            began = trio.current_time()
            await dial(path, listener.getsockname())
        assert path.sent[1] == pytest.approx(began + OVERDUE_CONNECT)
        assert path.sent[2] == pytest.approx(began + 3 * OVERDUE_CONNECT)
        assert path.sent[-1] - path.sent[-2] == pytest.approx(REDIAL_AFTER)
        assert closed[0] == pytest.approx(began + OVERDUE_CONNECT)

    run(main)


def test_what_was_lost_before_a_cut_says_nothing_of_its_effect() -> None:
    path = NetworkPath(Machine())
    cell, limits = path.machine.cell, path.machine.limits

    async def main() -> None:
        with socket.socket() as sock:
            first = path.connect_started()
            limits[Limit.EPOCH] = 1
            path.connect_ended(first)
            path.connected(sock, ("127.0.0.2", 80), path.connect_started(first))
            assert (cell[Signal.RETRANSMITTED_CONNECTS], cell[Signal.ALL_RETRANSMITTED]) == (0, 1)
            lost = path.connect_started()
            path.connect_ended(lost)
            path.connected(sock, ("127.0.0.2", 80), path.connect_started(lost))
            assert (cell[Signal.RETRANSMITTED_CONNECTS], cell[Signal.ALL_RETRANSMITTED]) == (1, 2)

    run(main)
