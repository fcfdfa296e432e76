"""A gate whose room comes from work that leaves it."""

from __future__ import annotations

import trio

from img2ds.congestion.gate import Gate, Numbers
from img2ds.congestion.machine import Machine
from img2ds.congestion.signals import Limit, Signal
from tests.run_on_virtual_clock import run


def test_making_room_leaves_the_gate_while_it_admits() -> None:
    """An idle connection is closed for one that waits: the room goes to one of those, once."""

    async def main() -> None:
        machine = Machine()
        machine.limits[Limit.CONNECTIONS] = 2.0
        idle: list[None] = []

        def make_room() -> bool:
            if not idle:
                return False
            idle.pop()
            gate.leave()
            return True

        gate = Gate(
            machine,
            Numbers(Signal.OPEN, Signal.WAITING_CONNECT, Limit.CONNECTIONS),
            make_room=make_room,
        )
        await gate.enter()
        await gate.enter()
        entered = 0

        async def enter() -> None:
            nonlocal entered
            await gate.enter()
            entered += 1

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(enter)
            await trio.sleep(1)
            assert entered == 0
            idle.append(None)
            await trio.sleep(1)
            assert entered == 1
            idle.append(None)
        assert entered == 2
        assert machine.total(Signal.OPEN) == 2

    run(main)
