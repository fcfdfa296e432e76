"""Round trips, and the first windows that fit them."""

from __future__ import annotations

import numpy as np
import pytest

from img2ds.congestion.link_control import FIRST_WINDOW, LinkControl
from img2ds.congestion.machine import CELL
from img2ds.congestion.path_control import PathControl
from img2ds.congestion.rounds import MAX_STRETCH, MIN_TRIPS, RoundTrip
from img2ds.congestion.signals import Signal


class Trips:
    """Totals that grow by clean connections."""

    def __init__(self) -> None:
        self.totals = np.zeros(CELL)
        self.trip = RoundTrip()
        self.trip.add(self.totals.copy())

    def connect(self, count: int, seconds: float) -> float:
        """Connect, each in so many seconds. Returns the stretch."""
        self.totals[Signal.CLEAN_CONNECTS] += count
        self.totals[Signal.CONNECT_SECONDS] += count * seconds
        self.trip.add(self.totals.copy())
        return self.trip.stretch


def test_long_round_trips_stretch_a_window() -> None:
    assert Trips().connect(MIN_TRIPS, 0.6) == pytest.approx(6.0)
    assert Trips().connect(MIN_TRIPS, 0.03) == 1.0
    assert Trips().connect(MIN_TRIPS, 0.3) == 1.0
    assert Trips().connect(MIN_TRIPS, 9.0) == MAX_STRETCH


def test_few_connections_tell_nothing_alone() -> None:
    trips = Trips()
    assert trips.connect(MIN_TRIPS - 1, 0.6) == 1.0
    assert trips.connect(1, 0.6) == pytest.approx(6.0)


def test_a_queue_of_our_own_stretches_nothing() -> None:
    trips = Trips()
    assert trips.connect(MIN_TRIPS, 0.03) == 1.0
    assert trips.connect(100, 2.0) == 1.0


@pytest.mark.parametrize("make", [LinkControl, PathControl])
def test_windows_fit_a_satellite_as_soon_as_it_answers(
    make: type[LinkControl] | type[PathControl],
) -> None:
    control, trips = make(512.0), Trips()
    control.update(0.0, trips.totals.copy())
    assert control.window == FIRST_WINDOW
    trips.connect(int(FIRST_WINDOW), 0.6)
    control.update(0.1, trips.totals.copy())
    assert control.window == pytest.approx(6 * FIRST_WINDOW)
