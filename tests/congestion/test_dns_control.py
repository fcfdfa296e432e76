"""The controller of DNS questions, against simulated name servers."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from img2ds.congestion.dns_control import MAX_WINDOW, MIN_RATE, DnsControl
from img2ds.congestion.machine import CELL
from tests.congestion.simulated_names import Run, Server

NAMES = 1500
DEAD = frozenset(Random(5).sample(range(NAMES), NAMES * 15 // 100))


@pytest.mark.parametrize("beyond", ["failed", "silent"])
@pytest.mark.parametrize("rate", [20, 50, 100, 400])
def test_a_limited_rate_is_used_and_not_exceeded_much(rate: int, beyond: str) -> None:
    names = 30 * rate
    run = Run(Server(rate=rate, beyond=beyond), names)
    seconds = run.run()
    assert seconds < 1.2 * names / rate
    used = 0.9 if rate >= 50 else 0.8  # a few answers a second are counted coarsely
    assert run.rate_between(seconds / 3, 0.9 * seconds) > used * rate
    assert run.asked < 1.4 * names


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_so_many_names_at_once(loss: float) -> None:
    run = Run(Server(at_once=40, seconds=(0.3, 3.0), loss=loss), NAMES, time_limit=6.0)
    seconds = run.run()
    # A lost question takes one of the 40 places until its time limit.
    mean = 1.17 + loss * 6.0
    assert run.rate_between(3.0, seconds - 5.0) > 0.9 * 40 / mean


def test_a_slow_server_is_full_at_once() -> None:
    run = Run(Server(seconds=(1.0, 8.0)), NAMES, time_limit=10.0)
    run.run()
    assert run.control.window == MAX_WINDOW
    assert run.rate_between(4.0, 10.0) > 0.85 * MAX_WINDOW / 3.37


def test_a_good_server_is_not_limited() -> None:
    run = Run(Server(), NAMES)
    assert run.run() < 1.0
    assert set(run.rates) == {0.0}
    assert run.control.window == MAX_WINDOW


@pytest.mark.parametrize(
    ("server", "seconds"),
    [
        (Server(loss=0.05), 3.5),
        (Server(loss=0.15), 5.5),
        (Server(dead=DEAD), 2.0),
        (Server(dead=DEAD, dead_how="silent"), 5.0),
        (Server(dead=DEAD, loss=0.05), 5.0),
    ],
    ids=["loss 5 %", "loss 15 %", "dead names", "silent names", "both"],
)
def test_ambient_failures_limit_nothing_for_long(server: Server, seconds: float) -> None:
    # Without limits: a time-out for each time that one name is lost in a row.
    assert Run(server, NAMES).run() < seconds


@pytest.mark.parametrize("beyond", ["failed", "silent"])
def test_a_limit_among_ambient_failures(beyond: str) -> None:
    server = Server(rate=50, beyond=beyond, dead=DEAD, loss=0.02)
    run = Run(server, NAMES)
    seconds = run.run()
    # Dead names take three questions each of the server's 50 a second.
    assert seconds < 1.3 * (NAMES + 2 * len(DEAD)) / 50


@pytest.mark.parametrize("beyond", ["failed", "silent"])
def test_an_outage_ends_when_it_ends(beyond: str) -> None:
    run = Run(Server(out=10.0, beyond=beyond), NAMES)
    assert run.run() < 12.5
    assert max(run.rates[30:95]) <= MIN_RATE


def test_the_answered_rate() -> None:
    run = Run(Server(rate=50), NAMES)
    run.run(20.0)
    assert run.control.answered_rate == pytest.approx(50, rel=0.15)


def test_restart_forgets_everything() -> None:
    run = Run(Server(rate=50), NAMES)
    run.run(10.0)
    control, new = run.control, DnsControl()
    control.restart()
    assert (control.window, control.rate, control.ambient) == (new.window, 0.0, 0.0)
    assert control.answered_rate == 0.0
    control.update(100.0, np.zeros(CELL))
    assert control.rate == 0.0
