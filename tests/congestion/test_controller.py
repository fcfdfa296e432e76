"""The leader's work on a virtual clock: when it sends canaries, and what they tell."""

from __future__ import annotations

import pytest
import trio

from img2ds.congestion.attribution import MIN_CLEAN, MIN_CLEAR
from img2ds.congestion.controller import CANARY_INTERVAL, Controller
from img2ds.congestion.machine import Machine
from img2ds.congestion.path import NetworkPath
from img2ds.congestion.signals import Limit, Signal
from tests.run_on_virtual_clock import run

#: Seconds after which it is known that the path drops SYNs.
KNOWN = 3.0


class Network:
    """A path that drops a third of the SYNs for two seconds, and then none."""

    def __init__(self, *, answers: bool = True) -> None:
        self.path = NetworkPath(Machine())
        self.cell = self.path.machine.cell
        self.controller = Controller(self.path, 256, self.probe, self.canary)
        self.canaries: list[float] = []
        self._answers = answers

    async def probe(self) -> tuple[bool, bool]:
        return True, True

    async def canary(self) -> None:
        self.canaries.append(trio.current_time())
        self.cell[Signal.CLEAN_CONNECTS if self._answers else Signal.ALL_RETRANSMITTED] += 1

    async def drop(self) -> None:
        self.cell[Signal.OPEN] = 200
        for _ in range(20):
            await trio.sleep(0.1)
            self.cell[Signal.CLEAN_CONNECTS] += 6
            self.cell[Signal.RETRANSMITTED_CONNECTS] += 3
            self.cell[Signal.ALL_RETRANSMITTED] += 3
        await trio.sleep(KNOWN - 2)


def watch(network: Network, overdue: int, seconds: float) -> float:
    """Let some attempts have no answer; return for how long the path is clear in the end."""

    async def main() -> float:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.controller.run)
            await network.drop()
            network.cell[Signal.OVERDUE] = overdue
            await trio.sleep(seconds)
            clear_for = network.controller.clear_for(seconds + KNOWN)
            nursery.cancel_scope.cancel()
        return clear_for

    return run(main)


def test_canaries_tell_since_when_a_path_is_clear() -> None:
    network = Network()
    assert watch(network, overdue=5, seconds=8.0) == pytest.approx(8.0, abs=1.0)
    pauses = [b - a for a, b in zip(network.canaries, network.canaries[1:], strict=False)]
    assert min(pauses) >= CANARY_INTERVAL


def test_the_next_leader_goes_on_with_the_limits() -> None:
    """The worker that leads may end first."""
    network = Network()
    limits = network.path.machine.limits

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.controller.run)
            await network.drop()
            nursery.cancel_scope.cancel()
        found = {limit: limits[limit] for limit in (Limit.CONNECTIONS, Limit.DNS, Limit.DROPS)}
        assert 0 < found[Limit.CONNECTIONS] < 512
        Controller(network.path, 256, network.probe)
        assert {limit: limits[limit] for limit in found} == found

    run(main)


def test_a_path_that_drops_canaries_is_not_clear() -> None:
    network = Network(answers=False)
    assert watch(network, overdue=5, seconds=8.0) == 0
    assert network.canaries


def test_without_a_canary_nothing_is_known_of_the_path() -> None:
    network = Network()
    assert watch(network, overdue=0, seconds=8.0) == 0
    assert not network.canaries


def test_a_few_seconds_are_not_enough() -> None:
    assert watch(Network(), overdue=5, seconds=MIN_CLEAR - 1.5) == 0
    assert MIN_CLEAR >= MIN_CLEAN * CANARY_INTERVAL
