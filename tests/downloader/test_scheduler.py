"""Rows are handed out once each, in order, within the share of a host, on a virtual clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from img2ds.downloader.scheduler import Row, Scheduler
from img2ds.downloader.shard import Shard


class Rows:
    """What a feed knows of a shard: how many rows, and their URLs."""

    def __init__(self, *urls: str | None) -> None:
        self.urls = list(urls)
        self.count = len(urls)


def shard(*urls: str | None) -> Shard:
    return cast(Shard, Rows(*urls))


def of_hosts(hosts: str) -> Shard:
    """A row for each letter, which is its host."""
    return shard(*(f"http://{host}/{number}" for number, host in enumerate(hosts)))


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        with trio.fail_after(1000):
            await main()

    trio.run(limited, clock=MockClock(autojump_threshold=0))


async def take(feed: Scheduler) -> Row:
    row = await feed.next()
    assert row is not None
    return row


async def nothing_now(feed: Scheduler) -> bool:
    """Whether a slot that asks has to wait."""
    with trio.move_on_after(0.001) as waited:
        row = await feed.next()
        assert row is None, row
    return waited.cancelled_caught


def test_rows_come_in_order_across_shards_and_end() -> None:
    async def main() -> None:
        feed = Scheduler(0)
        first, second = of_hosts("abc"), of_hosts("de")
        feed.add(first)
        feed.add(second)
        feed.close()
        rows = [await take(feed) for _ in range(5)]
        assert [(row.shard, row.index) for row in rows] == [
            (first, 0), (first, 1), (first, 2), (second, 0), (second, 1),
        ]  # fmt: skip
        assert [row.host for row in rows] == list("abcde")
        assert await nothing_now(feed)  # a row that is out may still come back
        for row in rows:
            feed.done(row)
        assert await feed.next() is None
        assert await feed.next() is None  # and for every slot that asks

    run(main)


def test_an_open_feed_keeps_its_slots_waiting() -> None:
    async def main() -> None:
        feed = Scheduler(0)
        assert await nothing_now(feed)
        got: list[Row | None] = []

        async def slot() -> None:
            row = await feed.next()
            got.append(row)
            if row is not None:
                feed.done(row)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(slot)
            await wait_all_tasks_blocked()
            assert not got
            feed.add(of_hosts("a"))
            await wait_all_tasks_blocked()
            assert len(got) == 1
            feed.close()
        assert got[1:] == [None, None]

    run(main)


def test_the_last_rows_end_lets_every_slot_go() -> None:
    async def main() -> None:
        feed = Scheduler(0)
        feed.add(of_hosts("a"))
        feed.close()
        row = await take(feed)
        got: list[Row | None] = []

        async def slot() -> None:
            got.append(await feed.next())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(slot)
            await wait_all_tasks_blocked()
            assert not got
            feed.done(row)
        assert got == [None, None, None]

    run(main)


def test_a_feed_closed_without_rows_ends() -> None:
    async def main() -> None:
        feed = Scheduler(4)
        feed.close()
        assert await feed.next() is None

    run(main)


def test_a_busy_host_keeps_no_other_waiting() -> None:
    async def main() -> None:
        feed = Scheduler(2)
        feed.add(of_hosts("aaaaabac"))
        feed.close()
        rows = [await take(feed) for _ in range(4)]
        assert [row.index for row in rows] == [0, 1, 5, 7]  # a a b c; the others are parked
        assert await nothing_now(feed)
        feed.done(rows[2])  # b's end frees nothing for a
        assert await nothing_now(feed)
        feed.done(rows[0])
        third = await take(feed)
        assert third.index == 2  # parked rows come back in order
        assert await nothing_now(feed)
        feed.done(rows[1])
        feed.done(third)
        rest = [await take(feed), await take(feed)]
        assert [row.index for row in rest] == [3, 4]
        feed.done(rest[0])
        last = await take(feed)
        assert last.index == 6
        for row in (rows[3], rest[1], last):
            feed.done(row)
        assert await feed.next() is None

    run(main)


def test_a_parked_row_wakes_a_waiting_slot() -> None:
    async def main() -> None:
        feed = Scheduler(1)
        feed.add(of_hosts("aa"))
        first = await take(feed)
        got: list[int] = []

        async def slot() -> None:
            got.append((await take(feed)).index)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(slot)
            await wait_all_tasks_blocked()
            assert not got
            feed.done(first)
        assert got == [1]

    run(main)


def test_zero_is_no_limit() -> None:
    async def main() -> None:
        feed = Scheduler(0)
        feed.add(of_hosts("a" * 500))
        assert [(await take(feed)).index for _ in range(500)] == list(range(500))

    run(main)


@pytest.mark.parametrize("url", [None, "", "no scheme", "http:/", "http://"])
def test_urls_without_a_host_are_handed_out_too(url: str | None) -> None:
    async def main() -> None:
        feed = Scheduler(1)
        feed.add(shard(url))
        feed.close()
        row = await take(feed)
        feed.done(row)
        assert await feed.next() is None

    run(main)


def test_a_later_try_comes_at_its_time_and_not_before() -> None:
    async def main() -> None:
        feed = Scheduler(0)
        feed.add(of_hosts("ab"))
        feed.close()
        first, second = await take(feed), await take(feed)
        began = trio.current_time()
        feed.again(first, 30)
        feed.again(second, 10)
        assert await take(feed) is second
        assert trio.current_time() - began == pytest.approx(10)
        assert await take(feed) is first
        assert trio.current_time() - began == pytest.approx(30)
        feed.done(second)
        assert await nothing_now(feed)
        feed.done(first)
        assert await feed.next() is None

    run(main)


def test_a_sooner_time_reaches_a_slot_that_already_waits() -> None:
    async def main() -> None:
        feed = Scheduler(0)
        feed.add(of_hosts("ab"))
        first, second = await take(feed), await take(feed)
        began = trio.current_time()
        feed.again(first, 100)
        times: dict[int, float] = {}

        async def slot() -> None:
            row = await take(feed)
            times[row.index] = trio.current_time() - began

        async with trio.open_nursery() as nursery:
            nursery.start_soon(slot)
            nursery.start_soon(slot)
            await trio.sleep(1)
            feed.again(second, 5)
        assert times == {1: pytest.approx(6), 0: pytest.approx(100)}

    run(main)


def test_a_row_that_waits_holds_no_share_of_its_host() -> None:
    async def main() -> None:
        feed = Scheduler(1)
        feed.add(of_hosts("aa"))
        feed.close()
        first = await take(feed)
        feed.again(first, 10)
        second = await take(feed)
        assert second.index == 1
        with trio.move_on_after(20):
            pytest.fail(f"{await feed.next()} is above its host's share")
        feed.done(second)  # the later try, due by now, was parked meanwhile
        assert await take(feed) is first

    run(main)


def test_the_next_shard_is_asked_for_in_time() -> None:
    async def main() -> None:
        feed = Scheduler(0)
        await feed.wait_below(1)  # at once: there is nothing
        feed.add(of_hosts("abcd"))
        left: list[int] = []
        handed: list[Row] = []

        async def load() -> None:
            await feed.wait_below(2)
            left.append(4 - len(handed))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(load)
            while len(handed) < 4:
                await wait_all_tasks_blocked()
                handed.append(await take(feed))
        assert left == [1]

    run(main)


def test_a_host_that_has_not_answered_gets_one_row_at_a_time() -> None:
    async def main() -> None:
        feed = Scheduler(3, unanswered=1, waiting=10)
        feed.add(of_hosts("aaabaa"))
        first, other = await take(feed), await take(feed)
        assert (first.index, other.index) == (0, 3)
        assert await nothing_now(feed)
        feed.answered(first)
        assert [(await take(feed)).index for _ in range(2)] == [1, 2]
        assert await nothing_now(feed)  # three are out
        feed.done(first)
        assert (await take(feed)).index == 4

    run(main)


def test_rows_that_waited_share_a_hosts_silence() -> None:
    async def main() -> None:
        feed = Scheduler(3, unanswered=1, waiting=10)
        feed.add(of_hosts("aaaaa"))
        feed.close()
        first = await take(feed)
        assert await nothing_now(feed)
        sharing = feed.silent(first)
        assert [row.index for row in sharing] == [1, 2]  # three could have been out
        assert feed.silences(first) == feed.silences(sharing[0]) == 1
        for row in (first, *sharing):
            feed.done(row)
        second = await take(feed)
        assert second.index == 3
        assert await nothing_now(feed)  # still one at a time
        assert [row.index for row in feed.silent(second)] == [4]
        assert feed.silences(second) == 2
        await trio.sleep(61)
        assert feed.silences(second) == 0
        feed.answered(second)
        assert feed.silences(second) == 0

    run(main)


def test_twice_as_many_share_each_further_silence() -> None:
    async def main() -> None:
        feed = Scheduler(2, unanswered=1, waiting=100)
        feed.add(of_hosts("a" * 30))
        shared: list[int] = []
        while sum(shared) < 30:
            first = await take(feed)
            assert await nothing_now(feed)
            rows = [first, *feed.silent(first)]
            shared.append(len(rows))
            for row in rows:
                feed.done(row)
        assert shared == [2, 4, 8, 16]
        feed.add(of_hosts("aaaa"))
        first = await take(feed)
        feed.answered(first)
        second = await take(feed)
        assert await nothing_now(feed)
        feed.done(first)
        assert [row.index for row in feed.silent(second)] == [3]  # it has answered in between

    run(main)


def test_only_the_last_row_out_stands_for_others() -> None:
    """A host that was busy when it fell silent has as many failures as it had rows out."""

    async def main() -> None:
        feed = Scheduler(2, unanswered=1, waiting=10)
        feed.add(of_hosts("aaaa"))
        first = await take(feed)
        feed.answered(first)
        second = await take(feed)
        assert await nothing_now(feed)
        assert feed.silent(first) == []
        assert feed.silences(first) == 0
        feed.done(first)
        assert [row.index for row in feed.silent(second)] == [2]
        assert feed.silences(second) == 1

    run(main)


def test_no_more_rows_than_that_wait_for_a_first_answer() -> None:
    async def main() -> None:
        feed = Scheduler(4, unanswered=1, waiting=2)
        feed.add(of_hosts("aaaaaaa"))
        assert [(await take(feed)).index for _ in range(4)] == [0, 3, 4, 5]
        assert await nothing_now(feed)

    run(main)


@pytest.mark.parametrize("seed", range(8))
def test_every_row_ends_once_whatever_happens(seed: int) -> None:
    """Many slots, few hosts, failures that come back; no host is ever above its share."""
    random = Random(seed)
    limit = random.choice([1, 2, 5])
    unanswered, waiting = random.choice([(0, 0), (1, 3), (1, 100)])
    shards = [
        of_hosts("".join(random.choices("aaaabcd", k=random.randint(1, 60)))) for _ in range(6)
    ]

    async def main() -> None:
        feed = Scheduler(limit, unanswered, waiting)
        active: Counter[str] = Counter()
        ended: Counter[tuple[int, int]] = Counter()

        async def slot() -> None:
            while (row := await feed.next()) is not None:
                active[row.host] += 1
                assert active[row.host] <= limit
                await trio.sleep(random.expovariate(2))
                active[row.host] -= 1
                sharing = []
                if random.random() < 0.5:
                    feed.answered(row)
                elif random.random() < 0.5:
                    sharing = feed.silent(row)
                for one in (row, *sharing):
                    if random.random() < 0.3 and one.attempts < 3:
                        one.attempts += 1
                        feed.again(one, random.uniform(0, 5))
                    else:
                        ended[shards.index(one.shard), one.index] += 1
                        feed.done(one)

        async def load() -> None:
            for one in shards:
                await feed.wait_below(5)
                feed.add(one)
            feed.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(load)
            for _ in range(20):
                nursery.start_soon(slot)
        wanted = {(s, i) for s, one in enumerate(shards) for i in range(one.count)}
        assert set(ended) == wanted
        assert set(ended.values()) == {1}

    run(main)
