"""What a worker notices of its connections: which of them are overdue."""

from __future__ import annotations

import math
import socket

import trio

from img2ds.congestion.machine import Machine
from img2ds.congestion.path import (
    FIRST_OVERDUE,
    MIN_ANSWER,
    OVERDUE_FACTOR,
    RETRANSMITTED_AFTER,
    NetworkPath,
)
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


def test_the_time_of_two_syns_follows_the_round_trips() -> None:
    async def main() -> None:
        path = NetworkPath(Machine())
        assert path.two_syns == math.inf
        await connect(path, 0.03)
        assert path.two_syns == RETRANSMITTED_AFTER + MIN_ANSWER
        for _ in range(100):
            await connect(path, ROUND_TRIP)
        assert path.two_syns > RETRANSMITTED_AFTER + 2 * ROUND_TRIP

    run(main)
