"""Histograms of durations: bounds, sums, names."""

from __future__ import annotations

import pytest

from img2ds.report.histogram import BOUNDS, Durations
from img2ds.report.tally import Tally


@pytest.mark.parametrize(
    ("seconds", "name"),
    [(0.0, "below 1 ms"), (0.000999, "below 1 ms"), (0.001, "1 ms to 2 ms"),
     (0.5, "500 ms to 1 s"), (1.0, "1 s to 2 s"), (59.9, "20 s to 60 s"), (1e9, "from 60 s")],
)  # fmt: skip
def test_a_duration_is_in_one_bucket(seconds: float, name: str) -> None:
    durations = Durations()
    durations.add(seconds)
    assert durations.rows() == [(name, 1)]
    assert durations.total == 1


def test_they_add_up() -> None:
    first, other = Tally(), Tally()
    for tally, seconds in ((first, 0.003), (other, 0.003), (other, 0.3)):
        tally.fetches.add(seconds)
    other.lookups.add(5.0)
    first.merge(other)
    assert first.fetches.total == 3
    assert first.fetches.rows()[0] == ("2 ms to 5 ms", 2)
    assert first.fetches.rows()[-1] == ("200 ms to 500 ms", 1)
    assert [count for _, count in first.fetches.rows()[1:-1]] == [0] * 5
    assert first.lookups.rows() == [("5 s to 10 s", 1)]
    assert other.fetches.total == 2, "what is added stays as it is"


def test_without_durations_there_are_no_rows() -> None:
    assert Durations().rows() == []
    assert len(Durations().counts) == len(BOUNDS) + 1
