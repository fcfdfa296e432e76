"""A host's rate, window and pauses, learned from its refusals in simulated time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmark.counting_cdn import CountingCdn
from benchmark.network_settings import Cdn
from img2ds.congestion.host_control import (
    MAX_FIRST_STREAK,
    MAX_RETRY_AFTER,
    MAX_VAGUE_STREAK,
    PAUSES,
    HostControl,
)
from img2ds.congestion.host_growth import MIN_HOLD
from img2ds.congestion.host_refusal import Refusal, Refused
from img2ds.congestion.host_table import Field, HostTable
from img2ds.congestion.shared_file import make_run_token, remove_files
from tests.congestion.simulated_host import ANSWER, RTT, Outcome, Simulation, counting


@contextmanager
def tables(workers: int) -> Iterator[list[HostTable]]:
    """The tables of the workers of one machine."""
    if workers == 1:
        yield [HostTable()]
        return
    token = make_run_token()
    opened = [HostTable(token, worker) for worker in range(workers)]
    try:
        yield opened
    finally:
        for table in opened:
            table.close()
        remove_files(token)


def run(cdn: CountingCdn, workers: int, rows: int) -> Outcome:
    with tables(workers) as shared:
        return Simulation(
            shared, rows, counting(cdn), ended=cdn.disconnect, retry_after=lambda: cdn.retry_after
        ).run()


#: CDNs, and the most rows a second that each can give.
CDNS = {
    "429": (Cdn(rate=20), 20.0),
    "429, Retry-After": (Cdn(rate=20, retry_after=True), 20.0),
    "503": (Cdn(rate=20, status=503), 20.0),
    "503, Retry-After": (Cdn(rate=20, status=503, retry_after=True), 20.0),
    "connections": (Cdn(parallel=10), 10 / (RTT + sum(ANSWER) / 2)),
    "bans with resets": (Cdn(rate=20, ban="reset"), 20.0),
    "bans with 403": (Cdn(rate=20, ban="403"), 20.0),
}


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("name", CDNS)
def test_no_row_is_lost_to_a_limit_and_the_limit_is_used(name: str, workers: int) -> None:
    settings, most = CDNS[name]
    rows = 600
    outcome = run(CountingCdn(settings), workers, rows)
    assert (outcome.accepted, outcome.lost) == (rows, 0)
    assert rows / outcome.seconds > 0.8 * most
    assert outcome.refused < 0.25 * rows


def test_resets_are_no_ban_while_others_are_accepted() -> None:
    """The window shrinks to what the host accepts; there is no pause."""
    table = HostTable()
    control, fields = HostControl(table), table.fields
    place = table.find("host", 0.0)
    at = table.at(place)
    for _ in range(20):
        control.start(place, 1.0)
    for number in range(4):
        table.leave(place)
        control.accept(place, 1.0, 1.05 + number)
        assert control.refuse(place, Refused(Refusal.RESET, None, 1.01 + number), 1.1 + number)
        table.leave(place)
        control.start(place, 1.11 + number)
    assert fields[at + Field.PAUSED_UNTIL] <= 4.1
    assert 10 <= fields[at + Field.WINDOW] <= 15


def test_what_was_accepted_of_the_first_wave_fits_at_once() -> None:
    table = HostTable()
    control = HostControl(table)
    place = table.find("host", 0.0)
    for _ in range(30):
        control.start(place, 1.0)
    for number in range(20):
        control.refuse(place, Refused(Refusal.RESET, None, 1.0), 1.1 + number / 1000)
        table.leave(place)
    for _ in range(10):
        control.accept(place, 1.0, 1.2)
        table.leave(place)
    control.refuse(place, Refused(Refusal.RESET, None, 1.0), 1.3)
    assert table.fields[table.at(place) + Field.WINDOW] == 10


class Banning:
    """A CDN that bans for a minute whoever it has refused 40 times."""

    def __init__(self, status: int) -> None:
        self._cdn = CountingCdn(Cdn(rate=20))
        self._status = status
        self._refused = 0
        self.until: float | None = None
        self.asked_while_banned = 0

    def answer(self, now: float) -> int:
        if self.until is not None and now < self.until:
            self.asked_while_banned += 1
            return self._status
        status = self._cdn.request(now)
        self._refused += status == 429
        if self._refused == 40 and self.until is None:
            self.until = now + 60
        return status


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("status", [0, 403, 429])
def test_a_ban_is_sat_out_with_few_requests(status: int, workers: int) -> None:
    host = Banning(status)
    with tables(workers) as shared:
        outcome = Simulation(shared, 300, host.answer).run()
    assert host.until is not None
    assert (outcome.accepted, outcome.lost) == (300, 0)
    assert host.asked_while_banned < 64 + 12  # the first wave, and probes
    assert outcome.seconds < 60 + 40 + 300 / 20 * 1.3


def test_the_level_that_was_refused_is_approached_slowly() -> None:
    """Refusals become rare."""
    with tables(1) as shared:
        cdn, refused = CountingCdn(Cdn(rate=20)), []

        def answer(now: float) -> int:
            status = cdn.request(now)
            if status != 200:
                refused.append(now)
            return status

        simulation = Simulation(shared, 2000, answer)
        began = simulation.now
        simulation.run()
    late = [when for when in refused if when > began + 20]
    assert len(late) < 40


def test_a_level_that_was_too_low_is_left_soon() -> None:
    """Something else, a full link for instance, held the rows up when the host refused some."""
    host, now = Host(), 1.0
    ask(host, None, now)
    ask(host, Refusal.RATE, now)
    now = host.due(now)
    ask(host, None, now)
    assert ask(host, Refusal.RATE, now)
    began, rows = now, 0
    while now < began + 60:
        now = max(host.due(now), now + 0.05)
        ask(host, None, now)
        rows += 1
    assert rows > 400


def test_rows_that_take_long_are_taken_rows() -> None:
    """On a full link a host takes 20 rows a second, of which few have ended when it refuses one."""
    host, now = Host(), 1.0
    ask(host, None, now)
    ask(host, Refusal.RATE, now)
    now = host.due(now)
    fields, at = host.control.table.fields, host.control.table.at(host.place)
    fields[at + Field.RATE] = 22.0
    for number in range(200):
        host.start(now)
        now += 1 / 22
        if not number % 4:
            fields[at + Field.GROWN_AT] = now
            host.accept(now - 0.1, now)
    assert host.refuse(Refusal.RATE, now, now)
    assert 18 < fields[at + Field.RATE] < 22


@pytest.mark.parametrize("workers", [1, 8])
def test_the_flags_hold_for_the_machine(workers: int) -> None:
    active = most = 0

    def answer(now: float) -> int:
        nonlocal active, most
        active += 1
        most = max(most, active)
        return 200

    def ended() -> None:
        nonlocal active
        active -= 1

    with tables(workers) as shared:
        outcome = Simulation(shared, 200, answer, ended=ended, limit=5, rate=25).run()
    assert most <= 5
    assert outcome.seconds == pytest.approx(200 / 25, rel=0.1)


class Host:
    """One place of a table without a server; every call takes the time in seconds."""

    def __init__(self) -> None:
        self.control = HostControl(HostTable())
        self.place = self.control.table.find("a", 0.0)

    def start(self, now: float, count: int = 1) -> None:
        for _ in range(count):
            self.control.start(self.place, now)

    def accept(self, started: float, now: float) -> None:
        self.control.accept(self.place, started, now)
        self.control.table.leave(self.place)

    def refuse(
        self, refusal: Refusal, started: float, now: float, wait: float | None = None,
        again: bool = False,
    ) -> bool:  # fmt: skip
        limit = self.control.refuse(self.place, Refused(refusal, wait, started, again), now)
        self.control.table.leave(self.place)
        return limit

    def due(self, now: float) -> float:
        return self.control.due(self.place, now)


def ask(host: Host, refusal: Refusal | None, now: float, wait: float | None = None) -> bool:
    """Ask with one row, which is answered at once."""
    host.start(now)
    if refusal is not None:
        return host.refuse(refusal, now, now, wait)
    host.accept(now, now)
    return False


def test_a_host_that_never_accepted_a_row_is_given_up_soon() -> None:
    host, now = Host(), 1.0
    for streak in range(MAX_FIRST_STREAK - 1):
        assert ask(host, Refusal.RATE, now)
        assert host.due(now) == pytest.approx(now + PAUSES[streak])
        now = host.due(now)
        host.start(now)
        assert host.due(now) > now  # one row asks
        host.control.table.leave(host.place)
    assert not ask(host, Refusal.RATE, now)
    assert host.due(now) == now
    assert not ask(host, Refusal.RATE, now)  # and its other rows are not held up
    ask(host, None, now)
    assert ask(host, Refusal.RATE, now)  # until it accepts one


def test_a_dead_backend_holds_nothing_up() -> None:
    host = Host()
    assert not ask(host, Refusal.BUSY, 1.0)
    assert host.due(1.0) == 1.0
    host.start(1.0, 2)
    assert not host.refuse(Refusal.BUSY, 1.0, 1.0)


def test_a_backend_that_died_holds_its_rows_for_seconds() -> None:
    host, now = Host(), 1.0
    ask(host, None, now)
    host.start(now, 2)
    assert host.refuse(Refusal.BUSY, now, now)
    assert host.refuse(Refusal.BUSY, now, now)
    began = now
    while host.due(now) != now or ask(host, Refusal.BUSY, now):
        now = host.due(now)
    assert now - began == pytest.approx(sum(PAUSES[: MAX_VAGUE_STREAK - 1]))


@pytest.mark.parametrize("wait", [3.0, MAX_RETRY_AFTER])
def test_retry_after_is_obeyed(wait: float) -> None:
    host = Host()
    assert ask(host, Refusal.BUSY, 1.0, wait)
    assert host.due(1.0) == 1.0 + wait


def test_a_longer_retry_after_is_a_failure() -> None:
    host = Host()
    ask(host, None, 1.0)
    assert not ask(host, Refusal.RATE, 1.0, MAX_RETRY_AFTER + 1)
    assert host.due(1.0) == 1.0


def test_a_row_that_asks_alone_is_not_reset_for_load() -> None:
    host = Host()
    assert not ask(host, Refusal.RESET, 1.0)
    ask(host, None, 1.0)
    assert not ask(host, Refusal.RESET, 2.0)
    host.start(3.0, 2)
    assert host.refuse(Refusal.RESET, 3.0, 3.0)


def test_a_403_is_the_urls_unless_the_host_was_asked_too_fast() -> None:
    host = Host()
    ask(host, None, 1.0)
    assert not ask(host, Refusal.FORBIDDEN, 1.0)
    assert ask(host, Refusal.RATE, 2.0)
    now = host.due(2.0)
    for _ in range(2):
        assert ask(host, Refusal.FORBIDDEN, now)
    ask(host, None, now)  # no ban: another row is accepted
    assert host.due(now + 5) == now + 5


def test_few_refusals_among_many_rows_cut_nothing() -> None:
    """Single URLs answer 503, or reset their connection, whatever the load."""
    host, now = Host(), 1.0
    for number in range(200):
        now += 0.05
        host.start(now, 2)
        kind = (Refusal.BUSY, Refusal.RESET)[number % 2]
        if number % 20 < 18:
            host.accept(now, now)
        else:
            assert host.refuse(kind, now, now)
        host.accept(now, now)
    host.start(now, 60)
    assert host.due(now) == now


def test_a_row_that_is_refused_again_while_others_are_accepted_cuts_nothing() -> None:
    host = Host()
    ask(host, None, 1.0)
    host.start(2.0, 2)
    assert host.refuse(Refusal.RATE, 2.0, 2.0, again=True)
    assert host.due(2.0) == 2.0


def test_after_a_ban_the_window_opens_step_by_step() -> None:
    host, now = Host(), 1.0
    ask(host, None, now)
    assert ask(host, Refusal.RATE, now)
    now = host.due(now)
    host.start(now, 2)
    assert host.refuse(Refusal.RESET, now, now)
    assert host.refuse(Refusal.RESET, now, now)
    now = host.due(now)
    host.start(now)
    assert host.due(now + 100) > now + 100  # one row asks
    host.control.table.leave(host.place)
    now += 10
    ask(host, None, now)
    started = 0
    now += 10
    while host.due(now + 10 * started) <= now + 10 * started and started < 64:
        host.start(now + 10 * started)
        started += 1
    assert started == 2


@pytest.mark.parametrize("refusal", Refusal)
def test_what_fails_without_end_ends(refusal: Refusal) -> None:
    """A host that stops answering for good holds its rows for some minutes at most."""
    host, now = Host(), 1.0
    ask(host, None, now)
    ask(host, Refusal.RATE, now)
    for _ in range(30):
        now = max(now, host.due(now))
        if not ask(host, refusal, now):
            break
    else:
        pytest.fail("the host is asked for ever")
    assert now < 300


def test_a_level_that_is_refused_again_is_left_alone_for_longer() -> None:
    host, now = Host(), 1.0
    pauses = []
    for _ in range(5):
        began = now
        ask(host, None, now)
        fields, at = host.control.table.fields, host.control.table.at(host.place)
        now = max(host.due(now), fields[at + Field.HOLD_UNTIL] + 0.5)
        pauses.append(now - began)
        ask(host, None, now)
        now = max(host.due(now), now + 0.1)
        assert ask(host, Refusal.RATE, now)
        now = host.due(now)
    assert pauses[2:] == sorted(pauses[2:])
    assert pauses[4] == pytest.approx(8 * MIN_HOLD, rel=0.2)


def test_idle_connections_leave_a_full_host_to_others() -> None:
    with tables(2) as (first, second):
        control = HostControl(first)
        place = first.find("a", 0.0)
        for _ in range(6):
            control.start(place, 1.0)
        assert control.may_keep(place, waiting=False)
        control.accept(place, 1.0, 1.5)
        for _ in range(2):  # four fit
            control.refuse(place, Refused(Refusal.RESET, None, 1.0), 2.0)
            first.leave(place)
        assert not control.may_keep(place, waiting=False)
        assert control.may_keep(place, waiting=True)
        second.set_waiting(place, 1)
        assert not control.may_keep(place, waiting=True)
        for _ in range(2):
            first.leave(place)
        assert control.may_keep(place, waiting=True)


def test_workers_share_a_host_fairly() -> None:
    """The second worker gets its half although the first always has rows to start."""
    with tables(2) as (first, second):
        controls = [HostControl(table, limit=10) for table in (first, second)]
        place = first.find("a", 0.0)
        for table in (first, second):
            table.set_waiting(place, 1)
        for _ in range(10):
            if controls[0].due(place, 1.0) <= 1.0:
                controls[0].start(place, 1.0)
        while controls[1].due(place, 1.0) <= 1.0:
            controls[1].start(place, 1.0)
        assert (first.own(place), second.own(place)) == (5, 5)
