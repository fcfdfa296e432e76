"""The byte budget bounds what is held and never deadlocks."""

from __future__ import annotations

from functools import partial

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from img2ds.net.budget import Budget, Lease


def test_a_reader_over_budget_waits_for_room() -> None:
    async def main() -> None:
        budget = Budget(100)
        first, second = budget.lease(), budget.lease()
        first.add(100)
        assert bool(second.exhausted)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(second.wait)
            await wait_all_tasks_blocked()
            assert nursery.child_tasks
            first.release()
        assert not bool(second.exhausted)
        assert budget.held == 0

    trio.run(main)


def test_when_every_holder_waits_one_proceeds() -> None:
    async def main() -> None:
        budget = Budget(100)
        leases = [budget.lease() for _ in range(3)]
        ended: list[int] = []

        async def read(number: int) -> None:
            with leases[number] as lease:
                lease.add(40)  # together they are over the budget, and none is done
                for _ in range(5):
                    if lease.exhausted:
                        await lease.wait()
                    lease.add(40)
                    await trio.lowlevel.checkpoint()
            ended.append(number)

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for number in range(3):
                    nursery.start_soon(read, number)
        assert sorted(ended) == [0, 1, 2]
        assert budget.held == 0
        assert budget._working == 0

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_many_readers_stay_near_the_budget() -> None:
    async def main() -> None:
        budget = Budget(1000)
        highest = 0

        async def read() -> None:
            nonlocal highest
            with budget.lease() as lease:
                for _ in range(10):
                    if lease.exhausted:
                        await lease.wait()
                    lease.add(50)
                    highest = max(highest, budget.held)
                    await trio.lowlevel.checkpoint()

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(40):
                    nursery.start_soon(read)
        assert budget.held == 0
        assert highest <= 1000 + 50 + 500  # one read over, and one body that was let through

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_cancelled_wait_leaves_no_trace() -> None:
    async def main() -> None:
        budget = Budget(10)
        holder, waiter = budget.lease(), budget.lease()
        holder.add(10)
        waiter.add(5)
        with trio.move_on_after(1):
            await waiter.wait()
        waiter.release()
        holder.release()
        assert (budget.held, budget._working, len(budget._waiting)) == (0, 0, 0)

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_cancelled_wait_takes_no_turn() -> None:
    async def main() -> None:
        budget = Budget(10)
        holder, cancelled = budget.lease(), budget.lease()
        holder.add(10)
        with trio.move_on_after(1):
            await cancelled.wait()
        with trio.fail_after(10):
            await holder.wait()  # the only holder waits, so it is let through
        assert not holder.exhausted

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_only_a_holder_that_was_let_through_may_exceed_the_budget() -> None:
    async def main() -> None:
        budget = Budget(10)
        first, second = budget.lease(), budget.lease()
        first.add(10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(second.wait)
            await wait_all_tasks_blocked()
            first.release()
        second.add(10)
        assert bool(second.exhausted)  # it had room, and was not let through
        await second.wait()
        assert not bool(second.exhausted)
        second.release()
        second.add(10)
        assert bool(second.exhausted)  # it was let through for one body

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_holder_that_hardly_receives_makes_room_for_others() -> None:
    """The largest one goes first; who delivers, and who holds little, stays."""

    async def main() -> None:
        budget = Budget(10_000_000)
        evicted: list[str] = []
        leases: dict[str, Lease] = {}

        def leave(name: str) -> None:
            evicted.append(name)
            leases[name].release()

        for name, size in (("drips", 4_000_000), ("drips more", 5_000_000), ("delivers", 2_000_000),
                           ("small", 900_000)):  # fmt: skip
            lease = leases[name] = budget.lease()
            lease.add(size)
            lease.evict = partial(leave, name)
        leases["delivers"].add(50_000)
        reader = budget.lease()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.wait)
            for _ in range(4):
                await trio.sleep(1)
                leases["delivers"].add(100_000)
                leases["drips"].add(1)
        assert evicted == ["drips more"]  # then there was room
        assert leases["drips more"].evicted
        assert not leases["drips"].evicted

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_nobody_is_evicted_while_nobody_waits() -> None:
    async def main() -> None:
        budget = Budget(1000)
        with budget.lease() as lease:
            lease.evict = lambda: None
            lease.add(2000)
            await trio.sleep(1000)
            assert not lease.evicted

    trio.run(main, clock=MockClock(autojump_threshold=0))
