"""Gates: room, order, rates, and the numbers of other workers."""

from __future__ import annotations

import pytest
import trio

from img2ds.congestion.gate import Gate, Numbers
from img2ds.congestion.machine import Machine
from img2ds.congestion.signals import Limit, Signal
from tests.run_on_virtual_clock import run


class Setup:
    def __init__(self, limit: float, rate: float = 0.0) -> None:
        self.machine = Machine()
        self.machine.limits[Limit.REQUESTS] = limit
        self.machine.limits[Limit.CONNECT_RATE] = rate
        self.entered: list[tuple[str, float]] = []
        numbers = Numbers(
            Signal.REQUESTS, Signal.WAITING_REQUEST, Limit.REQUESTS, rate=Limit.CONNECT_RATE
        )
        self.gate = Gate(self.machine, numbers)

    async def work(self, name: str, seconds: float, *, first: bool = False) -> None:
        await self.gate.enter(first=first)
        self.entered.append((name, round(trio.current_time() - self.began, 1)))
        await trio.sleep(seconds)
        self.gate.leave()

    def run(self, *names: str) -> None:
        async def main() -> None:
            self.began = trio.current_time()
            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(self.work, name, 1.0)
                    await trio.sleep(0.01)

        run(main)


def test_first_come_first_served() -> None:
    setup = Setup(2)
    setup.run(*"abcde")
    assert setup.entered == [("a", 0.0), ("b", 0.0), ("c", 1.0), ("d", 1.0), ("e", 2.0)]
    assert setup.machine.total(Signal.REQUESTS) == 0
    assert setup.machine.total(Signal.WAITING_REQUEST) == 0


def test_no_limit() -> None:
    setup = Setup(0)
    setup.run(*"abcdefgh")
    assert {when for _, when in setup.entered} <= {0.0, 0.1}


def test_a_rate_spreads_the_starts() -> None:
    setup = Setup(0, rate=10.0)
    setup.run(*"abcdefgh")
    times = [when for _, when in setup.entered]
    assert times[-1] == pytest.approx(0.6, abs=0.11)
    assert times == sorted(times)


def test_who_comes_first_by_right() -> None:
    setup = Setup(1)

    async def main() -> None:
        setup.began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(setup.work, "a", 1.0)
            await trio.sleep(0.1)
            nursery.start_soon(setup.work, "b", 1.0)
            await trio.sleep(0.1)
            nursery.start_soon(lambda: setup.work("c", 1.0, first=True))

    run(main)
    assert [name for name, _ in setup.entered] == ["a", "c", "b"]


def test_a_limit_that_rises_lets_the_next_in_without_a_message() -> None:
    setup = Setup(-1)  # nothing may start

    async def main() -> None:
        setup.began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(setup.work, "a", 1.0)
            await trio.sleep(5)
            setup.machine.limits[Limit.REQUESTS] = 1

    run(main)
    assert setup.entered == [("a", 5.0)]


def test_whoever_is_cancelled_gives_its_place_back() -> None:
    setup = Setup(1)

    async def main() -> None:
        setup.began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(setup.work, "a", 2.0)
            await trio.sleep(0.1)
            with trio.move_on_after(0.5):
                await setup.work("b", 1.0)
            nursery.start_soon(setup.work, "c", 1.0)

    run(main)
    assert [name for name, _ in setup.entered] == ["a", "c"]
    assert setup.machine.total(Signal.REQUESTS) == 0
    assert setup.machine.total(Signal.WAITING_REQUEST) == 0


class StepCount(trio.abc.Instrument):
    def __init__(self) -> None:
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1


def test_who_waits_sleeps_until_it_is_its_turn() -> None:
    setup, counted = Setup(1), StepCount()

    async def main() -> None:
        setup.began = trio.current_time()
        trio.lowlevel.add_instrument(counted)
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(setup.work, str(number), 0.1)

    run(main)
    assert len(setup.entered) == 100
    # Four steps a row, and one a look at what other workers do: 50 a second, for ten seconds.
    assert counted.steps < 100 * 4 + 10 * 50 + 50


def test_somebody_looks_after_all_who_waited_gave_up() -> None:
    setup = Setup(1)

    async def main() -> None:
        setup.began = trio.current_time()
        await setup.gate.enter()
        for _ in range(3):
            with trio.move_on_after(0.5):
                await setup.gate.enter()
            await trio.sleep(0.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(setup.work, "late", 0.1)
            await trio.sleep(0.5)
            setup.machine.limits[Limit.REQUESTS] = 2  # nothing tells but a look

    run(main)
    assert setup.entered == [("late", 3.5)]
