"""When the network is out, and when it is only silent hosts."""

from __future__ import annotations

import numpy as np
import pytest

from img2ds.congestion.machine import CELL
from img2ds.congestion.outage import PORTAL_ENDS, SILENCE, Outage, OutageControl, Wants
from img2ds.congestion.signals import Signal


class Network:
    """Totals that change, and a control that sees them."""

    def __init__(self) -> None:
        self.control = OutageControl()
        self.totals = np.zeros(CELL)
        self.now = 100.0
        self.update()

    def update(self, seconds: float = 0.1, **changes: float) -> Wants:
        self.now += seconds
        for name, change in changes.items():
            self.totals[getattr(Signal, name)] += change
        return self.control.update(self.now, self.totals.copy())

    def outage(self) -> Outage:
        return self.control.outage

    def until_probe(self, **changes: float) -> float:
        """Return how many seconds pass until the control wants a probe."""
        began = self.now
        while self.update(**changes) is not Wants.PROBE:
            assert self.now < began + 60
        return self.now - began

    def probe(self, answered: bool, asked_host: bool = True) -> None:
        self.control.probed(self.now, answered, self.totals.copy(), asked_host)


def test_silence_is_probed_and_then_an_outage() -> None:
    network = Network()
    network.update(CONNECTING=5)
    assert network.until_probe() == pytest.approx(SILENCE, abs=0.3)
    assert network.outage() is Outage.NONE
    network.probe(False)
    assert network.outage() is Outage.NETWORK


def test_any_answer_ends_it() -> None:
    network = Network()
    network.update(CONNECTING=5)
    network.until_probe()
    network.probe(False)
    network.update(ANSWERS=1)
    assert network.outage() is Outage.NONE
    assert network.control.ended_at == network.now


def test_a_probe_that_is_answered_says_that_the_hosts_are_dead() -> None:
    network = Network()
    network.update(CONNECTING=5)
    network.until_probe()
    network.probe(True)
    assert network.outage() is Outage.NONE
    assert network.until_probe() > SILENCE  # and it is asked again, not all the time


def test_without_a_route_it_takes_half_a_second() -> None:
    network = Network()
    network.update(UNREACHABLE=3)
    assert network.until_probe(UNREACHABLE=1) < 1.0
    network.probe(False)
    assert network.outage() is Outage.ROUTE


def test_name_servers_that_fail_are_named() -> None:
    network = Network()
    network.update(DNS_FAILED=3)
    network.until_probe(DNS_FAILED=1)
    network.probe(False, asked_host=False)
    assert network.outage() is Outage.NAME_SERVER
    network.update(DNS_FAILED=5)
    assert network.outage() is Outage.NAME_SERVER
    network.update(DNS_ANSWERED=1)
    assert network.outage() is Outage.NONE


def test_doing_nothing_is_no_silence() -> None:
    network = Network()
    for _ in range(600):
        assert network.update() is Wants.NOTHING


def test_a_long_outage_is_probed_less_often() -> None:
    network = Network()
    network.update(CONNECTING=1)
    network.until_probe()
    pauses = []
    began = network.now
    while network.now < began + 200:
        network.probe(False)
        pauses.append((network.now - began, network.until_probe()))
    assert all(pause <= max(0.7, 0.06 * passed) for passed, pause in pauses)
    assert pauses[-1][1] == pytest.approx(5.0, abs=0.3)


def test_a_portal_is_over_when_its_pages_end() -> None:
    network = Network()
    network.update(ANSWERS=3, PORTAL_PAGES=3)
    assert network.outage() is Outage.PORTAL
    network.update(PORTAL_ENDS / 2, ANSWERS=1)
    assert network.outage() is Outage.PORTAL
    network.update(PORTAL_ENDS, ANSWERS=1)
    assert network.outage() is Outage.NONE


def test_every_outage_has_words() -> None:
    assert all(outage.words for outage in Outage if outage is not Outage.NONE)
