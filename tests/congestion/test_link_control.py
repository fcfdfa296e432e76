"""The window of rows, against simulated links that share their rate among all bodies."""

from __future__ import annotations

import numpy as np
import pytest

from img2ds.congestion.link_control import SETTLING, LinkControl
from img2ds.congestion.machine import CELL
from img2ds.congestion.signals import SLOW_BODY, Signal

TICK = 0.1


class Link:
    """Bodies of `size` bytes over a link of `rate` bytes a second, or from slow servers.

    Args:
        server: bytes a second that a server sends at most.
    """

    def __init__(self, rate: float, size: float, *, server: float = 1e9, most: int = 512) -> None:
        self.rate, self.size, self.server, self.most = rate, size, server, most
        self.control = LinkControl(float(most))
        self.totals = np.zeros(CELL)
        self.windows: list[float] = []
        self.seconds: list[float] = []
        self.now = 0.0
        self._bodies: list[list[float]] = []  # bytes left, age, whether it was counted as slow

    def run(self, seconds: float) -> float:
        """Run for a while. Returns the bytes a second that arrived."""
        before, began = self.totals[Signal.BODY_BYTES], self.now
        while self.now < began + seconds:
            self._tick()
        return float(self.totals[Signal.BODY_BYTES] - before) / seconds

    def _tick(self) -> None:
        totals, bodies = self.totals, self._bodies
        while len(bodies) < min(self.control.window, self.most):
            bodies.append([self.size, 0.0, 0.0])
        share = min(self.rate / max(len(bodies), 1), self.server) * TICK
        for body in list(bodies):
            totals[Signal.BODY_BYTES] += min(share, body[0])
            body[0] -= share
            body[1] += TICK
            if body[1] > SLOW_BODY and not body[2]:
                body[2] = 1.0
                totals[Signal.SLOW_BODIES] += 1
            if body[0] <= 0:
                totals[Signal.FAST_BODIES] += not body[2]
                self.seconds.append(body[1])
                bodies.remove(body)
        totals[Signal.BODIES] = totals[Signal.REQUESTS] = len(bodies)
        self.now += TICK
        self.control.update(self.now, totals.copy())
        self.windows.append(self.control.window)


def test_a_thin_link_is_full_and_its_bodies_end_in_time() -> None:
    link = Link(rate=1.25e6, size=200_000)  # 10 Mbit/s
    link.run(30.0)
    link.seconds.clear()
    assert link.run(60.0) > 0.95 * 1.25e6
    assert max(link.seconds) < 8.0
    assert link.control.limited


def test_a_wide_link_has_no_limit() -> None:
    link = Link(rate=125e6, size=80_000)
    link.run(5.0)
    assert link.control.window >= 512
    assert not link.control.limited


def test_slow_servers_are_no_thin_link() -> None:
    link = Link(rate=125e6, size=100_000, server=20_000)
    link.run(40.0)
    assert link.control.window >= 64
    assert not link.control.limited


def test_a_link_that_gets_thinner_and_wide_again() -> None:
    link = Link(rate=12.5e6, size=200_000)
    link.run(10.0)
    wide = link.control.window
    link.rate = 1.25e6
    link.run(30.0)
    assert link.control.window < 0.3 * wide
    link.rate = 12.5e6
    link.windows.clear()
    link.run(30.0)
    assert max(link.windows) > 0.8 * wide


def test_a_link_that_changes_all_the_time_is_full() -> None:
    """That of a phone, for instance."""
    link = Link(rate=2.5e6, size=200_000)
    arrived = 0.0
    for mbit in 10 * (20, 5, 1, 10):
        link.rate = mbit * 125e3
        arrived += 3 * link.run(3.0)
    assert arrived > 0.96 * 10 * 3 * 36 * 125e3


@pytest.mark.parametrize(
    ("bodies", "throughput", "limited"), [(32, 0.85e6, False), (64, 0.3e6, True)]
)
def test_a_link_that_gets_thinner_after_a_cut_is_no_slow_server(
    bodies: int, throughput: float, limited: bool
) -> None:
    """Fewer rows lower the throughput where each body arrives as fast as before, from a server."""
    control, totals = LinkControl(512.0), np.zeros(CELL)
    now = 0.0

    def run(seconds: float, bodies: int, throughput: float) -> None:
        nonlocal now
        until = now + seconds
        while now < until:
            now += TICK
            totals[Signal.REQUESTS] = totals[Signal.BODIES] = bodies
            totals[Signal.BODY_BYTES] += TICK * throughput
            totals[Signal.SLOW_BODIES] += 1
            control.update(now, totals.copy())

    run(3.0, 64, 1.7e6)
    assert control.window == 32
    run(SETTLING + 1, bodies, throughput)
    assert control.limited == limited
    assert (control.window < 64) == limited


def test_a_very_thin_link_gets_few_rows() -> None:
    link = Link(rate=125_000, size=200_000)
    link.run(250.0)
    assert 4 <= link.control.window < 12


def test_the_last_slow_bodies_of_a_list_cut_nothing() -> None:
    link = Link(rate=125e6, size=200_000)
    link.run(10.0)
    assert link.control.window == link.most
    link.most = 100
    link.run(1.0)
    link.server = 20_000.0
    link.run(20.0)
    assert link.control.window == 512
