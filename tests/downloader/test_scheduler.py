"""The scheduler hands out every row once, in order, within host limits, on a virtual clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from img2ds.congestion.host_control import HostControl
from img2ds.congestion.host_table import HostTable
from img2ds.core.failure import Failure
from img2ds.downloader.hosts import Hosts
from img2ds.downloader.row import MOVES, Row, RowState
from img2ds.downloader.scheduler import Scheduler
from img2ds.downloader.shard import Shard

GONE = Failure("http_404", "")


class Rows:
    """A fake shard for the scheduler: the number of rows, and their URLs."""

    def __init__(self, *urls: str | None) -> None:
        self.urls = list(urls)
        self.count = self.left = len(urls)

    def has_ended(self, index: int) -> bool:
        return False


def shard(*urls: str | None) -> Shard:
    return cast(Shard, Rows(*urls))


def of_hosts(hosts: str) -> Shard:
    """A row for each letter, which is its host."""
    return shard(*(f"http://{host}/{number}" for number, host in enumerate(hosts)))


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        with trio.fail_after(3000):
            await main()

    trio.run(limited, clock=MockClock(autojump_threshold=0))


def hosts(limit: int, first_limit: int = 0, max_waiting: int = 0) -> Hosts[Row]:
    return Hosts(HostControl(HostTable(), limit), first_limit, max_waiting)


async def take(scheduler: Scheduler) -> Row:
    row = await scheduler.next()
    assert row is not None
    return row


async def nothing_now(scheduler: Scheduler) -> bool:
    """Return whether a slot that asks has to wait."""
    with trio.move_on_after(0.001) as waited:
        row = await scheduler.next()
        assert row is None, row
    return waited.cancelled_caught


def test_rows_come_in_order_across_shards_and_end() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(0))
        first, second = of_hosts("abc"), of_hosts("de")
        scheduler.add(first)
        scheduler.add(second)
        scheduler.close()
        rows = [await take(scheduler) for _ in range(5)]
        assert [(row.shard, row.index) for row in rows] == [
            (first, 0), (first, 1), (first, 2), (second, 0), (second, 1),
        ]  # fmt: skip
        assert [row.host for row in rows] == list("abcde")
        assert await nothing_now(scheduler)  # an active row may still come back
        for row in rows:
            scheduler.end(row)
        assert await scheduler.next() is None
        assert await scheduler.next() is None  # and for every slot that asks

    run(main)


def test_an_open_scheduler_keeps_its_slots_waiting() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(0))
        assert await nothing_now(scheduler)
        got: list[Row | None] = []

        async def slot() -> None:
            row = await scheduler.next()
            got.append(row)
            if row is not None:
                scheduler.end(row)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(slot)
            await wait_all_tasks_blocked()
            assert not got
            scheduler.add(of_hosts("a"))
            await wait_all_tasks_blocked()
            assert len(got) == 1
            scheduler.close()
        assert got[1:] == [None, None]

    run(main)


def test_the_last_rows_end_lets_every_slot_go() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(0))
        scheduler.add(of_hosts("a"))
        scheduler.close()
        row = await take(scheduler)
        got: list[Row | None] = []

        async def slot() -> None:
            got.append(await scheduler.next())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(slot)
            await wait_all_tasks_blocked()
            assert not got
            scheduler.end(row)
        assert got == [None, None, None]

    run(main)


def test_a_scheduler_closed_without_rows_ends() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(4))
        scheduler.close()
        assert await scheduler.next() is None

    run(main)


def test_a_busy_host_keeps_no_other_waiting() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(2))
        scheduler.add(of_hosts("aaaaabac"))
        scheduler.close()
        rows = [await take(scheduler) for _ in range(4)]
        assert [row.index for row in rows] == [0, 1, 5, 7]  # a a b c; the others wait
        assert await nothing_now(scheduler)
        scheduler.end(rows[2])  # b's end frees nothing for a
        assert await nothing_now(scheduler)
        scheduler.end(rows[0])
        third = await take(scheduler)
        assert third.index == 2  # waiting rows come in order
        assert await nothing_now(scheduler)
        scheduler.end(rows[1])
        scheduler.end(third)
        rest = [await take(scheduler), await take(scheduler)]
        assert [row.index for row in rest] == [3, 4]
        scheduler.end(rest[0])
        last = await take(scheduler)
        assert last.index == 6
        for row in (rows[3], rest[1], last):
            scheduler.end(row)
        assert await scheduler.next() is None

    run(main)


def test_a_row_that_waited_for_its_host_wakes_a_waiting_slot() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(1))
        scheduler.add(of_hosts("aa"))
        first = await take(scheduler)
        got: list[int] = []

        async def slot() -> None:
            got.append((await take(scheduler)).index)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(slot)
            await wait_all_tasks_blocked()
            assert not got
            scheduler.end(first)
        assert got == [1]

    run(main)


def test_zero_means_no_limit() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(0))
        scheduler.add(of_hosts("a" * 500))
        assert [(await take(scheduler)).index for _ in range(500)] == list(range(500))

    run(main)


@pytest.mark.parametrize("url", [None, "", "no scheme", "http:/", "http://"])
def test_urls_without_a_host_are_handed_out_too(url: str | None) -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(1))
        scheduler.add(shard(url))
        scheduler.close()
        row = await take(scheduler)
        scheduler.end(row)
        assert await scheduler.next() is None

    run(main)


def test_a_retry_comes_at_its_time_and_not_before() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(0))
        scheduler.add(of_hosts("ab"))
        scheduler.close()
        first, second = await take(scheduler), await take(scheduler)
        began = trio.current_time()
        scheduler.retry(first, 30)
        scheduler.retry(second, 10)
        assert await take(scheduler) is second
        assert trio.current_time() - began == pytest.approx(10)
        assert await take(scheduler) is first
        assert trio.current_time() - began == pytest.approx(30)
        scheduler.end(second)
        assert await nothing_now(scheduler)
        scheduler.end(first)
        assert await scheduler.next() is None

    run(main)


def test_a_sooner_time_reaches_a_slot_that_already_waits() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(0))
        scheduler.add(of_hosts("ab"))
        first, second = await take(scheduler), await take(scheduler)
        began = trio.current_time()
        scheduler.retry(first, 100)
        times: dict[int, float] = {}

        async def slot() -> None:
            row = await take(scheduler)
            times[row.index] = trio.current_time() - began

        async with trio.open_nursery() as nursery:
            nursery.start_soon(slot)
            nursery.start_soon(slot)
            await trio.sleep(1)
            scheduler.retry(second, 5)
        assert times == {1: pytest.approx(6), 0: pytest.approx(100)}

    run(main)


def test_a_delayed_row_takes_no_room_at_its_host() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(1))
        scheduler.add(of_hosts("aa"))
        scheduler.close()
        first = await take(scheduler)
        scheduler.retry(first, 10)
        second = await take(scheduler)
        assert second.index == 1
        with trio.move_on_after(20):
            pytest.fail(f"{await scheduler.next()} is above its host's limit")
        scheduler.end(second)  # the retry, due by now, waited for its host meanwhile
        assert await take(scheduler) is first

    run(main)


def test_the_next_shard_is_asked_for_in_time() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(0))
        await scheduler.wait_below(1)  # at once: there is nothing
        scheduler.add(of_hosts("abcd"))
        left: list[int] = []
        handed: list[Row] = []

        async def load() -> None:
            await scheduler.wait_below(2)
            left.append(4 - len(handed))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(load)
            while len(handed) < 4:
                await wait_all_tasks_blocked()
                handed.append(await take(scheduler))
        assert left == [1]

    run(main)


def test_a_host_that_has_not_responded_gets_one_row_at_a_time() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(3, first_limit=1, max_waiting=10))
        scheduler.add(of_hosts("aaabaa"))
        first, other = await take(scheduler), await take(scheduler)
        assert (first.index, other.index) == (0, 3)
        assert await nothing_now(scheduler)
        scheduler.record_response(first)
        assert [(await take(scheduler)).index for _ in range(2)] == [1, 2]
        assert await nothing_now(scheduler)  # three are active
        scheduler.end(first)
        assert (await take(scheduler)).index == 4

    run(main)


def test_a_refused_row_waits_with_its_host_and_delays_no_other() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(2))
        scheduler.add(of_hosts("aab"))
        scheduler.close()
        refused, accepted, other = [await take(scheduler) for _ in range(3)]
        assert scheduler.record(refused, Failure("http_429", "", retry_after=7.0))
        assert refused.state is RowState.WAITING
        assert not scheduler.record(accepted, None)
        scheduler.end(accepted)
        assert not scheduler.record(other, None)
        scheduler.end(other)
        began = trio.current_time()
        assert await take(scheduler) is refused
        assert trio.current_time() - began == pytest.approx(7)
        assert not scheduler.record(refused, None)
        scheduler.end(refused)
        assert await scheduler.next() is None

    run(main)


def test_one_slot_keeps_the_time_and_hands_it_on() -> None:
    """However many slots wait, each row wakes as many as it needs."""

    async def main() -> None:
        scheduler = Scheduler(hosts(0))
        scheduler.add(of_hosts("abc"))
        scheduler.close()
        rows = [await take(scheduler) for _ in range(3)]
        began = trio.current_time()
        times: list[float] = []

        async def slot() -> None:
            while (row := await scheduler.next()) is not None:
                times.append(trio.current_time() - began)
                await trio.sleep(100)
                scheduler.end(row)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(slot)
            await wait_all_tasks_blocked()
            for delay, row in zip((3, 2, 1), rows, strict=True):
                scheduler.retry(row, delay)
        assert times == [pytest.approx(1), pytest.approx(2), pytest.approx(3)]

    run(main)


def test_a_silent_host_is_asked_again_before_its_rows_fail() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(3, first_limit=1, max_waiting=100))
        scheduler.add(of_hosts("a" * 70))
        scheduler.close()
        first = await take(scheduler)
        began = trio.current_time()
        await trio.sleep(10)
        silent = scheduler.record_silence(first)
        assert silent == (1, True)
        assert first.state is RowState.WAITING
        assert await take(scheduler) is first
        assert trio.current_time() - began == pytest.approx(13)
        await trio.sleep(5)
        silent = scheduler.record_silence(first)
        assert silent == (2, False)
        scheduler.end(first)
        second = await take(scheduler)
        assert second.index == 1
        assert trio.current_time() - began == pytest.approx(25)
        await trio.sleep(5)
        assert scheduler.record_silence(second) == (3, False)
        scheduler.end(second)
        sharing = [await take(scheduler) for _ in range(63)]
        assert [(row.index, row.shares) for row in sharing] == [(n, 3) for n in range(2, 65)]
        for row in sharing:
            scheduler.end(row)
        last = await take(scheduler)
        assert (last.index, last.shares) == (65, 0)
        assert trio.current_time() - began == pytest.approx(30)
        assert scheduler.record_silence(last) == (4, False)
        scheduler.end(last)
        sharing = [await take(scheduler) for _ in range(4)]
        assert [(row.index, row.shares) for row in sharing] == [(n, 4) for n in range(66, 70)]
        for row in sharing:
            scheduler.end(row)
        assert await scheduler.next() is None

    run(main)


def test_no_more_rows_than_that_wait_for_a_first_response() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(4, first_limit=1, max_waiting=2))
        scheduler.add(of_hosts("aaaaaaa"))
        assert [(await take(scheduler)).index for _ in range(4)] == [0, 3, 4, 5]
        assert await nothing_now(scheduler)

    run(main)


@pytest.mark.parametrize("seed", range(8))
def test_every_row_ends_once_whatever_happens(seed: int) -> None:
    """Many slots, few hosts, failures that come back; no host is ever above its limit."""
    random = Random(seed)
    limit = random.choice([1, 2, 5])
    first_limit, max_waiting = random.choice([(0, 0), (1, 3), (1, 100)])
    outcomes = [None, None, GONE, GONE, Failure("http_429", ""), Failure("http_403", ""),
                Failure("connect_reset", ""), Failure("http_503", "", retry_after=3.0)]  # fmt: skip
    shards = [
        of_hosts("".join(random.choices("aaaabcd", k=random.randint(1, 60)))) for _ in range(6)
    ]

    async def main() -> None:
        scheduler = Scheduler(hosts(limit, first_limit, max_waiting))
        active: Counter[str] = Counter()
        ended: Counter[tuple[int, int]] = Counter()

        async def slot() -> None:
            while (row := await scheduler.next()) is not None:
                what = 1.0
                if not row.shares:
                    active[row.host] += 1
                    assert active[row.host] <= limit
                    await trio.sleep(random.expovariate(2))
                    active[row.host] -= 1
                    what = random.random()
                row.shares = 0
                if what < 0.4:
                    if scheduler.record(row, random.choice(outcomes)):
                        continue
                elif what < 0.5 and scheduler.record_silence(row).waits:
                    continue
                if random.random() < 0.3 and row.attempts < 3:
                    row.attempts += 1
                    scheduler.retry(row, random.uniform(0, 5))
                else:
                    ended[shards.index(row.shard), row.index] += 1
                    scheduler.end(row)

        async def load() -> None:
            for one in shards:
                await scheduler.wait_below(5)
                scheduler.add(one)
            scheduler.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(load)
            for _ in range(20):
                nursery.start_soon(slot)
        wanted = {(s, i) for s, one in enumerate(shards) for i in range(one.count)}
        assert set(ended) == wanted
        assert set(ended.values()) == {1}

    run(main)


def test_a_row_moves_only_as_the_table_says() -> None:
    async def main() -> None:
        scheduler = Scheduler(hosts(0))
        scheduler.add(of_hosts("ab"))
        ended, delayed = await take(scheduler), await take(scheduler)
        scheduler.end(ended)
        scheduler.retry(delayed, 1)
        assert (ended.state, delayed.state) == (RowState.ENDED, RowState.DELAYED)
        for move in (scheduler.end, lambda row: scheduler.retry(row, 1)):
            for row in (ended, delayed):
                with pytest.raises(AssertionError):
                    move(row)

    run(main)


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(RowState)
    assert {state for state, following in MOVES.items() if not following} == {RowState.ENDED}
