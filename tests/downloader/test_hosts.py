"""Host limits without a scheduler: who is admitted, who becomes ready, who shares a time-out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio

from img2ds.downloader.hosts import MAX_SHARING, MAX_UNRESPONSIVE, UNRESPONSIVE_FOR, HostLimits
from tests.run_on_virtual_clock import run


@dataclass(frozen=True)
class Row:
    host: str
    number: int = 0


def rows(count: int, host: str = "a") -> list[Row]:
    return [Row(host, number) for number in range(count)]


def test_a_row_becomes_ready_when_one_leaves() -> None:
    limits: HostLimits[Row] = HostLimits(2)
    first, second, third, fourth = rows(4)
    assert [limits.admit(row) for row in (first, second, third, fourth)] == [
        True,
        True,
        False,
        False,
    ]
    assert limits.pop_ready() is None
    assert limits.leave(first) == 1
    assert limits.pop_ready() is third
    assert limits.pop_ready() is None
    assert limits.admit(third)
    assert limits.leave(second) == 1
    assert limits.pop_ready() is fourth


def test_a_ready_row_counts_within_the_limit() -> None:
    limits: HostLimits[Row] = HostLimits(2)
    first, second, *waiting = rows(5)
    for row in (first, second, *waiting):
        limits.admit(row)
    assert limits.leave(first) == 1
    assert limits.leave(second) == 1
    assert [limits.pop_ready(), limits.pop_ready(), limits.pop_ready()] == [*waiting[:2], None]


def test_hosts_do_not_wait_for_each_other() -> None:
    limits: HostLimits[Row] = HostLimits(1)
    assert [limits.admit(Row(host)) for host in "abab"] == [True, True, False, False]


def test_a_host_without_rows_is_forgotten() -> None:
    limits: HostLimits[Row] = HostLimits(3, first_limit=1, max_waiting=9)
    for number in range(100):
        row = Row(f"host{number}")
        assert limits.admit(row)
        limits.record_response(row)
        limits.leave(row)
    assert not limits._hosts


def test_a_response_makes_as_many_rows_ready_as_the_limit_allows() -> None:
    limits: HostLimits[Row] = HostLimits(3, first_limit=1, max_waiting=9)
    first, *waiting = rows(5)
    assert limits.admit(first)
    assert [limits.admit(row) for row in waiting] == [False] * 4
    assert limits.record_response(first) == 2
    assert limits.record_response(first) == 0
    assert [limits.pop_ready(), limits.pop_ready()] == waiting[:2]


def test_a_ready_row_waits_once_its_host_times_out() -> None:
    async def main() -> None:
        limits: HostLimits[Row] = HostLimits(3, first_limit=1, max_waiting=9)
        first, second, third = rows(3)
        limits.admit(first)
        limits.admit(second)
        limits.admit(third)
        assert limits.record_response(first) == 2
        assert limits.pop_ready() is second
        assert limits.admit(second)
        assert limits.record_timeout(first) == []  # the second is active, and may know better
        assert limits.pop_ready() is third
        assert not limits.admit(third)

    run(main)


def test_without_a_limit_a_fixed_number_of_rows_shares_a_timeout() -> None:
    async def main() -> None:
        limits: HostLimits[Row] = HostLimits(0, first_limit=1, max_waiting=999)
        first, *waiting = rows(200)
        assert limits.admit(first)
        for row in waiting:
            assert not limits.admit(row)
        assert limits.record_timeout(first) == waiting[: MAX_SHARING - 1]

    run(main)


def test_timeouts_are_forgotten_after_a_while() -> None:
    async def main() -> None:
        limits: HostLimits[Row] = HostLimits(1)
        row = Row("a")
        for expected in (1, 2):
            limits.admit(row)
            limits.record_timeout(row)
            assert limits.timeouts(row) == expected
            limits.leave(row)
        await trio.sleep(UNRESPONSIVE_FOR - 1)
        assert limits.timeouts(row) == 2
        await trio.sleep(1)
        assert limits.timeouts(row) == 0

    run(main)


def test_no_more_than_a_fixed_number_of_unresponsive_hosts_is_remembered() -> None:
    async def main() -> None:
        limits: HostLimits[Row] = HostLimits(1)
        for number in range(MAX_UNRESPONSIVE + 1):
            row = Row(str(number))
            limits.admit(row)
            limits.record_timeout(row)
            limits.leave(row)
        assert [limits.timeouts(Row(str(n))) for n in (0, 1, MAX_UNRESPONSIVE)] == [0, 1, 1]

    run(main)


@pytest.mark.parametrize("responds", [True, False])
def test_rows_that_wait_no_longer_make_room_for_others_to_wait(responds: bool) -> None:
    async def main() -> None:
        limits: HostLimits[Row] = HostLimits(3, first_limit=1, max_waiting=2)
        first, *waiting = rows(3)
        assert limits.admit(first)
        assert [limits.admit(row) for row in waiting] == [False, False]
        assert [limits.admit(row) for row in rows(2, "b")] == [True, True]  # too many wait
        if responds:
            assert limits.record_response(first) == 2
        else:
            assert limits.record_timeout(first) == waiting
        assert [limits.admit(row) for row in rows(2, "c")] == [True, False]

    run(main)


def test_a_response_ends_a_series_of_timeouts() -> None:
    async def main() -> None:
        limits: HostLimits[Row] = HostLimits(1)
        row = Row("a")
        limits.admit(row)
        limits.record_timeout(row)
        limits.record_response(row)
        assert limits.timeouts(row) == 0

    run(main)
