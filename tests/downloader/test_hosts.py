"""Hosts without a scheduler: who is admitted, who may start next, who waits again or fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import trio

from img2ds.congestion.host_control import PAUSES, HostControl
from img2ds.congestion.host_refusal import FEW_ROWS, MAX_LAST_REFUSALS, MAX_REFUSALS, Refusal
from img2ds.congestion.host_table import HostTable
from img2ds.congestion.shared_file import make_run_token, remove_files
from img2ds.congestion.silence_table import PLACES, WAYS, SilenceTable
from img2ds.core.failure import Failure
from img2ds.downloader.hosts import Hosts
from img2ds.downloader.silence import (
    DEFERRED,
    MANY_ROWS,
    MAX_SHARING,
    MIN_PAUSE,
    POLL_INTERVAL,
    REMEMBERED,
    WAKE_UP,
    Silences,
    sharing,
)
from tests.run_on_virtual_clock import run

LIMITED = Failure("http_429", "")
GONE = Failure("http_404", "")
REASONS = {
    Refusal.RATE: "http_429", Refusal.BUSY: "http_503", Refusal.FORBIDDEN: "http_403",
    Refusal.RESET: "connect_reset",
}  # fmt: skip


@dataclass(slots=True)
class Row:
    host: str
    number: int = 0
    started: float = -1.0
    refusals: int = 0
    silences: int = 0
    shares: int = 0


def rows(count: int, host: str = "a") -> list[Row]:
    return [Row(host, number) for number in range(count)]


def make(limit: int = 0, first_limit: int = 0, max_waiting: int = 0) -> Hosts[Row]:
    return Hosts(HostControl(HostTable(), limit), first_limit, max_waiting)


def on_clock(test: Callable[[], None]) -> Callable[[], None]:
    """Run a test of one moment on the virtual clock."""

    async def main() -> None:
        test()

    def wrapped() -> None:
        run(main)

    wrapped.__name__ = test.__name__
    return wrapped


def take_all(hosts: Hosts[Row]) -> list[Row]:
    taken = []
    while (row := hosts.take()) is not None:
        taken.append(row)
    return taken


@on_clock
def test_a_row_starts_when_one_leaves() -> None:
    hosts = make(2)
    first, second, third, fourth = rows(4)
    admitted = [hosts.admit(row) for row in (first, second, third, fourth)]
    assert admitted == [True, True, False, False]
    assert hosts.take() is None
    hosts.leave(first)
    assert hosts.agenda.listed
    assert take_all(hosts) == [third]
    hosts.leave(second)
    assert take_all(hosts) == [fourth]


@on_clock
def test_hosts_do_not_wait_for_each_other() -> None:
    hosts = make(1)
    assert [hosts.admit(Row(host)) for host in "abab"] == [True, True, False, False]


@on_clock
def test_hosts_take_turns() -> None:
    hosts = make(first_limit=1, max_waiting=99)
    firsts = [Row("a"), Row("b")]
    assert all(hosts.admit(row) for row in firsts)
    for host in "aaabbb":
        assert not hosts.admit(Row(host))
    for row in firsts:
        hosts.record_response(row)
    assert [row.host for row in take_all(hosts)] == list("ababab")


@on_clock
def test_a_host_without_rows_is_forgotten() -> None:
    hosts = make(3, first_limit=1, max_waiting=9)
    for number in range(100):
        row = Row(f"host{number}")
        assert hosts.admit(row)
        assert not hosts.record(row, None)
        hosts.leave(row)
    assert not hosts._hosts


@on_clock
def test_a_response_lets_as_many_rows_start_as_the_limit_allows() -> None:
    hosts = make(3, first_limit=1, max_waiting=9)
    first, *waiting = rows(5)
    assert hosts.admit(first)
    assert [hosts.admit(row) for row in waiting] == [False] * 4
    hosts.record_response(first)
    assert take_all(hosts) == waiting[:2]


@pytest.mark.parametrize("responds", [True, False])
def test_rows_that_wait_no_longer_make_room_for_others_to_wait(responds: bool) -> None:
    async def main() -> None:
        hosts = make(3, first_limit=1, max_waiting=2)
        first, *waiting = rows(3)
        assert hosts.admit(first)
        assert [hosts.admit(row) for row in waiting] == [False, False]
        assert [hosts.admit(row) for row in rows(2, "b")] == [True, True]  # too many wait
        if responds:
            hosts.record_response(first)
            assert take_all(hosts) == waiting
        else:
            hosts.record_silence(first)
        assert [hosts.admit(row) for row in rows(2, "c")] == [True, False]

    run(main)


def test_refused_rows_come_back_when_the_host_allows() -> None:
    async def main() -> None:
        hosts = make()
        first, second, third = rows(3)
        for row in (first, second, third):
            assert hosts.admit(row)
        assert not hosts.record(first, GONE)  # the host accepts rows
        hosts.leave(first)
        assert hosts.record(second, Failure("http_429", "", retry_after=20.0))
        assert hosts.record(third, LIMITED)
        assert hosts.take() is None
        assert hosts.agenda.next_due == pytest.approx(trio.current_time() + 20)
        assert not hosts.admit(Row("a", 9))  # nobody passes those who wait
        assert hosts.admit(Row("b"))
        await trio.sleep_until(hosts.agenda.next_due)
        assert hosts.take() in (second, third)

    run(main)


async def take_later(hosts: Hosts[Row]) -> Row:
    """Return the next row that may start, when it may."""
    for _ in range(1000):
        row = hosts.take()
        if row is not None:
            return row
        await trio.sleep_until(hosts.agenda.next_due)
    raise AssertionError("no row may start")


@pytest.mark.parametrize("refusal", Refusal)
@pytest.mark.parametrize(("left", "most"), [(9, MAX_LAST_REFUSALS), (10, MAX_REFUSALS)])
def test_a_row_is_refused_only_so_often(refusal: Refusal, left: int, most: int) -> None:
    """Others are accepted meanwhile: the host is there, and the URL is to blame."""

    async def main() -> None:
        await trio.sleep(1)
        hosts = make()
        row, limited, *others = rows(left)
        assert all(hosts.admit(one) for one in (row, limited, *others))
        hosts.record(others[0], None)
        assert hosts.record(limited, LIMITED)
        assert await take_later(hosts) is limited
        assert not hosts.record(limited, None)
        refused = 1
        while hosts.record(row, Failure(REASONS[refusal], "")):
            refused += 1
            assert await take_later(hosts) is row
            await trio.sleep(0.1)
            hosts.record(others[0], None)
        assert refused == most

    run(main)


def test_what_a_host_always_refuses_ends_soon() -> None:
    """The last rows of a host that has taken the others: it is these URLs."""

    async def main() -> None:
        await trio.sleep(1)
        hosts = make()
        good, *bad = rows(8)
        assert all(hosts.admit(row) for row in (good, *bad))
        assert not hosts.record(good, None)
        hosts.leave(good)
        began = trio.current_time()
        active, ended = bad, 0
        while ended < len(bad):
            for row in active:
                if not hosts.record(row, LIMITED):
                    hosts.leave(row)
                    ended += 1
            active = take_all(hosts)
            if not active and ended < len(bad):
                active = [await take_later(hosts)]
        # It took one row in the second before, so that one row a second may start.
        assert trio.current_time() - began < PAUSES[0] + 2 * len(bad)

    run(main)


def test_a_forbidden_url_is_no_ban() -> None:
    """It is asked for again, and holds no other row of its host."""

    async def main() -> None:
        await trio.sleep(1)
        hosts = make()
        bad, limited, *others = rows(20)
        assert all(hosts.admit(row) for row in (bad, limited, *others))
        hosts.record(others[0], None)
        assert hosts.record(limited, LIMITED)
        assert await take_later(hosts) is limited
        began = trio.current_time()
        while hosts.record(bad, Failure("http_403", "")):
            assert await take_later(hosts) is bad
        assert trio.current_time() - began < MAX_REFUSALS  # one row a second may start

    run(main)


@pytest.mark.parametrize(("waiting", "most"), [(FEW_ROWS, MAX_REFUSALS), (1, MAX_LAST_REFUSALS)])
def test_a_row_is_tried_more_often_while_other_workers_have_rows(waiting: int, most: int) -> None:
    """Else the last rows of two workers would wait for each other, up to a minute."""

    async def main() -> None:
        await trio.sleep(1)
        token = make_run_token()
        tables = [HostTable(token, worker) for worker in range(2)]
        for table in tables:
            table.clock = trio.current_time
        hosts = Hosts[Row](HostControl(tables[0]))
        row = Row("a")
        assert hosts.admit(row)
        hosts.record(row, None)
        tables[1].set_waiting(tables[1].find("a", 1.0), waiting)
        refused = 1
        while hosts.record(row, Failure("http_429", "", retry_after=1.0)):
            refused += 1
            assert await take_later(hosts) is row
        assert refused == most
        for table in tables:
            table.close()
        remove_files(token)

    run(main)


@on_clock
def test_rows_that_come_back_need_not_wait_for_a_first_one() -> None:
    hosts = make(first_limit=1, max_waiting=9)
    known, unknown = rows(3, "known"), rows(3, "unknown")
    for row in known:
        row.started = 0.0
    assert [hosts.admit(row) for row in known] == [True] * 3
    assert [hosts.admit(row) for row in unknown] == [True, False, False]


@on_clock
def test_nobody_passes_those_who_wait() -> None:
    hosts = make(2)
    first, second, third = rows(3)
    assert [hosts.admit(row) for row in (first, second, third)] == [True, True, False]
    hosts.leave(first)
    assert not hosts.admit(Row("a", 9))
    assert take_all(hosts) == [third]


def test_a_refused_row_comes_back_last() -> None:
    async def main() -> None:
        await trio.sleep(1)
        hosts = make(2)
        refused, other, waiting = rows(3)
        assert [hosts.admit(row) for row in (refused, other, waiting)] == [True, True, False]
        assert hosts.record(refused, LIMITED)
        hosts.record(other, None)
        hosts.leave(other)
        assert await take_later(hosts) is waiting

    run(main)


def test_a_silent_host_is_asked_by_one_row_whatever_the_limit() -> None:
    async def main() -> None:
        hosts = make()
        first, second, third = rows(3)
        for row in (first, second, third):
            assert hosts.admit(row)
        for row in (first, second, third):
            assert hosts.record_silence(row).waits
        assert hosts.take() is None
        await trio.sleep_until(hosts.agenda.next_due)
        assert take_all(hosts) == [third]

    run(main)


def test_a_limit_behind_a_redirect_is_not_the_hosts() -> None:
    async def main() -> None:
        hosts = make()
        row = Row("a")
        assert hosts.admit(row)
        assert not hosts.record(row, Failure("http_429", "", via_other_host=True))
        assert hosts.admit(Row("a"))

    run(main)


def test_a_host_of_the_same_place_is_looked_at_in_time() -> None:
    """Rows that fill the place belong to another host, whose end tells nobody."""

    async def main() -> None:
        hosts = make(1)
        names: dict[int, str] = {}
        table = HostTable()
        for number in range(10_000):
            place = table.find(f"h{number}", 0.0)
            if place in names:
                break
            names[place] = f"h{number}"
        first, second = Row(names[place]), Row(f"h{number}")
        assert hosts.admit(first)
        assert not hosts.admit(second)
        await trio.sleep(1)
        assert hosts.take() is None
        hosts.leave(first)
        await trio.sleep_until(hosts.agenda.next_due)
        assert hosts.take() is second

    run(main)


def test_the_limit_holds_for_all_workers_of_a_machine() -> None:
    async def main() -> None:
        token = make_run_token()
        tables = [HostTable(token, worker) for worker in range(2)]
        for table in tables:
            table.clock = trio.current_time
        one, other = (Hosts[Row](HostControl(table, 2)) for table in tables)
        first, second, third = rows(3)
        assert [one.admit(first), one.admit(second), other.admit(third)] == [True, True, False]
        await trio.sleep(1)
        assert other.take() is None
        one.leave(first)
        await trio.sleep_until(other.agenda.next_due)
        assert other.take() is third
        for table in tables:
            table.close()
        remove_files(token)

    run(main)


def test_a_host_with_one_row_costs_two_waits() -> None:
    async def main() -> None:
        hosts = make(first_limit=1, max_waiting=9)
        row = Row("a")
        began = trio.current_time()
        assert hosts.admit(row)
        await trio.sleep(10)
        assert hosts.record_silence(row).waits
        assert hosts.take() is None
        await trio.sleep_until(hosts.agenda.next_due)
        assert hosts.take() is row
        assert trio.current_time() == pytest.approx(began + WAKE_UP)
        assert hosts.record_silence(row) == (2, False)

    run(main)


def test_a_host_that_wakes_up_loses_nothing() -> None:
    async def main() -> None:
        hosts = make(3, first_limit=1, max_waiting=9)
        first, *waiting = rows(4)
        assert hosts.admit(first)
        assert [hosts.admit(row) for row in waiting] == [False] * 3
        await trio.sleep(10)
        assert hosts.record_silence(first).waits
        assert hosts.take() is None
        await trio.sleep_until(hosts.agenda.next_due)
        assert hosts.take() is first
        assert hosts.take() is None
        hosts.record_response(first)
        assert take_all(hosts) == waiting[:2]
        assert hosts.silences(first) == 0

    run(main)


def test_a_busy_host_that_falls_silent_is_asked_by_one_row_then() -> None:
    async def main() -> None:
        hosts = make(3, first_limit=1, max_waiting=9)
        first, second, third = rows(3)
        assert hosts.admit(first)
        hosts.record_response(first)
        assert hosts.admit(second)
        assert hosts.admit(third)
        await trio.sleep(10)
        silents = [hosts.record_silence(row) for row in (first, second, third)]
        assert [(silent.number, silent.waits) for silent in silents] == [
            (1, True), (1, True), (1, True),
        ]  # fmt: skip
        assert hosts.take() is None
        await trio.sleep_until(hosts.agenda.next_due)
        assert take_all(hosts) == [third]

    run(main)


@pytest.mark.parametrize(("waiting", "pause"), [(MANY_ROWS - 1, 0.0), (MANY_ROWS, DEFERRED)])
def test_a_third_attempt_waits_where_many_rows_do(waiting: int, pause: float) -> None:
    async def main() -> None:
        hosts = make(first_limit=1, max_waiting=99)
        first, second, *others = rows(1 + waiting)
        assert hosts.admit(first)
        assert not any(hosts.admit(row) for row in (second, *others))
        await trio.sleep(10)
        hosts.record_silence(first)
        await trio.sleep(WAKE_UP - 10)
        assert take_all(hosts) == [first]
        hosts.record_silence(first)
        hosts.leave(first)
        assert take_all(hosts) == ([] if pause else [second])
        if pause:
            assert hosts.agenda.next_due == pytest.approx(trio.current_time() + pause)
            await trio.sleep(pause)
            assert take_all(hosts) == [second]
        hosts.record_silence(second)
        hosts.leave(second)
        assert take_all(hosts) == others
        assert {row.shares for row in others} == {3}

    run(main)


def test_new_rows_of_a_silent_host_wait_with_it() -> None:
    async def main() -> None:
        hosts = make(first_limit=1, max_waiting=0)
        row = Row("a")
        hosts.admit(row)
        hosts.record_silence(row)
        late = Row("a", 1)
        assert not hosts.admit(late)
        await trio.sleep(WAKE_UP)
        assert hosts.take() is row
        assert not hosts.admit(Row("a", 2))
        assert hosts.take() is None

    run(main)


def test_a_silence_begins_where_the_network_was_not_to_blame() -> None:
    async def main() -> None:
        hosts = make(first_limit=1)
        row = Row("a")
        hosts.admit(row)
        await trio.sleep(10)
        hosts.record_silence(row, clear_for=4.0)
        assert hosts.take() is None
        assert hosts.agenda.next_due == pytest.approx(trio.current_time() + WAKE_UP - 4)

    run(main)


@contextlib.contextmanager
def workers(count: int) -> Iterator[list[Hosts[Row]]]:
    """The hosts of several workers of a machine."""
    token = make_run_token()
    tables = [HostTable(token, worker) for worker in range(count)]
    silences = [SilenceTable(token) for _ in range(count)]
    for table in tables:
        table.clock = trio.current_time
    try:
        yield [
            Hosts[Row](HostControl(table), 1, 99, silence)
            for table, silence in zip(tables, silences, strict=True)
        ]
    finally:
        for table, silence in zip(tables, silences, strict=True):
            table.close()
            silence.close()
        remove_files(token)


def answered(one: Hosts[Row]) -> list[Row]:
    """Return rows of a host that has answered."""
    first, *left = rows(3)
    assert one.admit(first)
    one.record_response(first)
    one.leave(first)
    return left


def test_a_new_host_is_asked_by_one_row_of_the_machine() -> None:
    """Else a dead host takes an entry of a router's table for each worker."""

    async def main() -> None:
        with workers(2) as (one, other):
            first, second, third = rows(3)
            assert one.admit(first)
            assert not other.admit(second)
            assert take_all(other) == []
            one.record_connection(first)
            await trio.sleep_until(other.agenda.next_due)
            assert take_all(other) == [second]
            assert not one.admit(third)  # it finds an open connection soon

    run(main)


@pytest.mark.parametrize("alone", [False, True])
def test_a_row_that_has_learned_nothing_is_waited_for_no_longer(alone: bool) -> None:
    async def main() -> None:
        with workers(2) as (one, other):
            first, second = rows(2)
            assert one.admit(first)
            other.asks_alone = lambda: alone
            assert other.admit(second) == alone
            one.leave(first)
            if not alone:
                await trio.sleep_until(other.agenda.next_due)
                assert take_all(other) == [second]

    run(main)


def test_a_silent_host_is_asked_by_one_row_of_the_machine() -> None:
    """What one worker's row finds out holds for the rows of all workers."""

    async def main() -> None:
        with workers(2) as (one, other):
            first, second = rows(2)
            foreign = rows(3)
            assert one.admit(first)
            assert not one.admit(second)
            await trio.sleep(10)
            one.record_silence(first)
            assert not any(other.admit(row) for row in foreign)
            await trio.sleep(WAKE_UP - 10)
            assert take_all(one) == [first]
            assert take_all(other) == []
            assert other.agenda.next_due <= trio.current_time() + POLL_INTERVAL
            await trio.sleep(1)
            one.record_silence(first)
            one.leave(first)
            assert take_all(one) == [second]
            await trio.sleep(1)
            assert take_all(other) == []
            one.record_silence(second)
            await trio.sleep(POLL_INTERVAL)
            assert take_all(other) == foreign
            assert {row.shares for row in foreign} == {3}

    run(main)


def test_attempts_at_the_same_time_are_one_silence() -> None:
    async def main() -> None:
        with workers(2) as (one, other):
            first, second = answered(one)
            assert one.admit(first)
            await trio.sleep(1)
            assert other.admit(second)
            await trio.sleep(9)
            assert one.record_silence(first) == (1, True)
            await trio.sleep(1)
            assert other.record_silence(second) == (1, True)
            assert one.silences(first) == 1

    run(main)


def test_a_host_that_answers_a_worker_is_silent_for_none() -> None:
    async def main() -> None:
        with workers(2) as (one, other):
            first, second = answered(one)
            assert one.admit(first)
            assert other.admit(second)
            one.record_silence(first)
            assert one.silences(first) == 1
            other.record_response(second)
            await trio.sleep(WAKE_UP)
            assert one.silences(first) == 0
            assert take_all(one) == [first]

    run(main)

    run(main)


def test_silences_are_forgotten_after_a_while() -> None:
    async def main() -> None:
        hosts = make(first_limit=1)
        row = Row("a")
        hosts.admit(row)
        hosts.record_silence(row)
        await trio.sleep(WAKE_UP)
        assert hosts.take() is row
        hosts.record_silence(row)
        hosts.leave(row)
        await trio.sleep(REMEMBERED)
        assert hosts.admit(Row("a"))
        assert hosts.silences(row) == 0

    run(main)


def test_a_row_may_take_longer_than_silences_are_remembered() -> None:
    """--timeout is the user's choice; the count goes on."""
    silences = Silences(SilenceTable())
    assert [silences.add("a", now, now + 500) for now in (0, 1000, 2000)] == [1, 2, 3]


def test_the_second_attempt_gives_a_host_time_to_wake_up() -> None:
    silences = Silences(SilenceTable())
    silences.add("quick", 1.0, 2.0)
    silences.add("slow", 1.0, 60.0)
    assert silences.ask_at("quick", 9.0) == 1.0 + WAKE_UP
    assert silences.ask_at("slow", 9.0) == 60.0 + MIN_PAUSE


def test_each_further_silence_is_shared_by_twice_as_many() -> None:
    assert [sharing(count) for count in range(1, 6)] == [
        1, 1, MAX_SHARING, 2 * MAX_SHARING, 4 * MAX_SHARING,
    ]  # fmt: skip
    assert sum(map(sharing, range(3, 18))) > 1_000_000


def test_no_more_than_a_fixed_number_of_silent_hosts_is_remembered() -> None:
    """Those whose silence is the longest ago go first, and nobody gets the silences of another."""
    silences = Silences(SilenceTable())
    for number in range(2 * PLACES):
        silences.add(str(number), float(number + 1), float(number + 2))
    counts = [silences.count(str(number)) for number in range(2 * PLACES)]
    assert set(counts) == {0, 1}
    assert counts[-WAYS:] == [1] * WAYS
    assert sum(counts) <= PLACES
