"""Whether a name is to blame, or its name server."""

from __future__ import annotations

from itertools import count

import pytest

from img2ds.net.dns_fault import FailureShare, Suspicion


def failures_until_blamed(share: FailureShare, others: float) -> int:
    """Failures of one name, twice a second, while a share of 50 other names a second fails."""
    suspicion = Suspicion(share)
    due = 0.0
    for number in count(1):
        now = number / 2
        for _ in range(25):
            due += others
            share.add(now, 1.0, failed=due >= 1.0)
            due -= due >= 1.0
        suspicion.note_failure(now)
        if suspicion.weigh(now) or number == 100:
            return number
    raise AssertionError


@pytest.mark.parametrize(
    ("others", "failures"), [(0.0, 2), (0.02, 2), (0.1, 4), (0.15, 5), (0.5, 11)]
)
def test_failures_weigh_by_those_of_others(others: float, failures: int) -> None:
    assert failures_until_blamed(FailureShare(), others) == pytest.approx(failures, abs=1)


def test_no_name_is_blamed_while_all_fail() -> None:
    assert failures_until_blamed(FailureShare(), 1.0) > 20


def test_a_name_alone_is_blamed_for_its_second_failure() -> None:
    suspicion = Suspicion(FailureShare())
    suspicion.note_failure(0.0)
    assert not suspicion.weigh(0.0)
    suspicion.note_failure(1.0)
    assert suspicion.weigh(1.0)


@pytest.mark.parametrize(("names", "least", "most"), [(1, 2, 2), (5, 8, 25), (60, 30, 100)])
def test_the_more_names_fail_the_longer_none_is_blamed(names: int, least: int, most: int) -> None:
    share = FailureShare()
    failing = [Suspicion(share) for _ in range(names)]
    for second in range(1, 100):
        for one in failing:
            one.note_failure(float(second))
        blamed = [one.weigh(second + 0.5) for one in failing]
        if any(blamed):
            break
    assert least <= second <= most


def test_what_was_long_ago_counts_little() -> None:
    share = FailureShare()
    for _ in range(50):
        share.add(0.0, 1.0, failed=True)
    assert share.without(1.0, 0.0) > 0.9
    for _ in range(50):
        share.add(20.0, 1.0, failed=False)
    assert share.without(20.0, 0.0) < 0.01
