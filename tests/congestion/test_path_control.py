"""The window of connections, against simulated paths."""

from __future__ import annotations

import math

import numpy as np
import pytest

from img2ds.congestion.machine import CELL
from img2ds.congestion.path_control import PathControl
from img2ds.congestion.signals import Signal
from tests.congestion.simulated_path import Client, Path

#: Seconds of a connection in the simulation: a SYN's way, the response, the FIN's way.
HELD = 0.03 + 0.165 + 0.03


@pytest.mark.parametrize("entries", [50, 100, 300])
def test_a_routers_table_is_kept_full_and_not_overrun(entries: int) -> None:
    rows = 60 * entries
    client = Client(Path(entries=entries), rows)
    bound = rows * HELD / entries
    assert client.run() < 1.3 * bound + 4  # what was sent too early comes back late
    assert client.rate_between(5.0, 0.9 * bound) > 0.85 * entries / HELD
    assert max(client.windows[100:]) < 1.5 * entries


def test_the_end_of_an_outage_is_no_full_path() -> None:
    """The SYNs of the probe that ended it were sent again in the outage."""
    control, totals = PathControl(512.0), np.zeros(CELL)
    control.update(0.0, totals.copy())
    totals[Signal.RETRANSMITTED_CONNECTS] += 4
    control.restart()
    for tick in range(30, 70):  # the probe took three seconds
        totals[Signal.OPEN] = 60
        totals[Signal.CLEAN_CONNECTS] += 1
        control.update(tick / 10, totals.copy())
    assert not control.limited


def test_a_limit_of_new_connections_is_used() -> None:
    client = Client(Path(rate=50), 2000)
    assert client.run() < 1.3 * 2000 / 50
    assert client.rate_between(15.0, 30.0) > 0.85 * 50


@pytest.mark.parametrize("loss", [0.05, 0.1, 0.2])
def test_loss_that_is_the_lines_own_limits_nothing_in_the_end(loss: float) -> None:
    client = Client(Path(loss=loss), 40_000)
    client.run()
    assert client.windows[-1] > 500
    assert math.isinf(client.control.rate)


@pytest.mark.parametrize("dead", [0.15, 0.9])
def test_dead_hosts_are_no_sign_of_a_full_path(dead: float) -> None:
    client = Client(Path(), 3000, dead=dead)
    client.run()
    assert client.control.epoch == 0


def test_a_table_that_dead_hosts_fill_bears_less_and_less() -> None:
    """That is no limit of new connections a second."""
    control, totals = PathControl(512.0), np.zeros(CELL)
    control.update(0.0, totals.copy())
    for tick in range(1, 60):
        totals[Signal.ESTABLISHED] = 60 if tick < 20 else 25
        totals[Signal.OPEN] = 64 if tick < 20 else min(control.window, 60)
        totals[Signal.CLEAN_CONNECTS] += 4
        totals[Signal.RETRANSMITTED_CONNECTS] += 1
        totals[Signal.ALL_RETRANSMITTED] += 1
        control.update(tick / 10, totals.copy())
        if control.window < 40:
            break
    assert 20 < control.window < 40
    assert math.isinf(control.rate)


def test_idle_connections_make_room_as_soon_as_attempts_are_late() -> None:
    """A second of late attempts is enough, however many connections were made before."""
    control, totals = PathControl(512.0), np.zeros(CELL)
    control.update(0.0, totals.copy())
    for tick in range(1, 31):
        totals[Signal.CLEAN_CONNECTS] += 40
        control.update(tick / 10, totals.copy())
    assert not control.idle
    totals[Signal.OVERDUE_CONNECTS] += 70
    for tick in range(31, 42):
        control.update(tick / 10, totals.copy())
    assert control.idle


def test_a_worker_that_takes_over_knows_the_limits() -> None:
    control, totals = PathControl(512.0), np.zeros(CELL)
    control.adopt(90.0, math.inf, 3, limited=True)
    control.update(0.0, totals.copy())
    assert (control.window, control.epoch) == (90.0, 4)
    for tick in range(1, 20):
        totals[Signal.CLEAN_CONNECTS] += 40
        control.update(tick / 10, totals.copy())
    assert 90.0 < control.window < 120.0
    control.adopt(math.inf, math.inf, 0, limited=False)
    control.update(2.0, totals.copy())
    assert control.window == 512.0


def test_a_cut_is_judged_although_more_is_open_than_it_allows() -> None:
    """Rows that have entered go on: hosts that do not answer are sent further SYNs."""
    control, totals = PathControl(512.0), np.zeros(CELL)
    control.update(0.0, totals.copy())
    totals[Signal.OPEN] = 60
    for tick in range(1, 60):
        totals[Signal.CLEAN_CONNECTS] += 2
        if tick < 20:
            totals[Signal.RETRANSMITTED_CONNECTS] += 1
            totals[Signal.ALL_RETRANSMITTED] += 1
        control.update(tick / 10, totals.copy())
    assert control.limited
    before = control.window
    control.update(6.1, totals + 1)
    assert control.window > before


def test_a_good_path_is_full_within_a_second() -> None:
    client = Client(Path(), 5000)
    client.run()
    assert client.windows[10] > 512
    assert not client.control.limited


def test_after_an_outage_the_path_may_be_another() -> None:
    client = Client(Path(entries=50), 2000)
    client.run()
    assert client.control.window < 64
    client.control.restart()
    assert not client.control.limited
    assert client.control.window == 64
