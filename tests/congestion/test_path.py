"""What a worker notices of its connections: which of them are overdue."""

from __future__ import annotations

import socket

import trio

from img2ds.congestion.machine import Machine
from img2ds.congestion.path import FIRST_OVERDUE, OVERDUE_FACTOR, NetworkPath
from img2ds.congestion.signals import Signal
from tests.run_on_virtual_clock import run

ROUND_TRIP = 0.6


async def connect(path: NetworkPath, seconds: float) -> None:
    attempt = path.connect_started()
    await trio.sleep(seconds)
    path.tick()
    path.connect_ended(attempt)
    with socket.socket() as sock:
        path.connected(sock, ("198.19.0.1", 80), attempt)


def test_long_round_trips_are_not_overdue() -> None:
    """A satellite's window would not grow."""

    async def main() -> None:
        path = NetworkPath(Machine())
        for _ in range(3):
            await connect(path, ROUND_TRIP)
        assert path.machine.cell[Signal.OVERDUE_CONNECTS] == 0
        assert path.machine.cell[Signal.CLEAN_CONNECTS] == 3

    run(main)


def test_an_attempt_that_takes_much_longer_than_others_is_overdue() -> None:
    async def main() -> None:
        path = NetworkPath(Machine())
        first = path.connect_started()
        await trio.sleep(FIRST_OVERDUE)
        path.tick()
        assert path.machine.cell[Signal.OVERDUE] == 1
        path.connect_ended(first)
        await connect(path, ROUND_TRIP)
        await connect(path, OVERDUE_FACTOR * ROUND_TRIP + 0.1)
        assert path.machine.cell[Signal.OVERDUE_CONNECTS] == 2
        assert path.machine.cell[Signal.OVERDUE] == 0

    run(main)
