"""What people read of what bounds a run."""

from __future__ import annotations

import io

from img2ds.report.condition import Condition, Conditions
from img2ds.report.console import Console
from img2ds.report.counters import Counts

LINK = Condition("link", "link 19.8 Mbit/s")
OUTAGE = Condition("outage", "no network since 14:02:31; waiting", waits=True)


def test_a_bound_that_held_for_long_is_said_with_what_helps() -> None:
    conditions = Conditions()
    for condition in [Condition()] * 5 + [LINK] * 4 + [OUTAGE]:
        conditions.add(condition)
    assert conditions.lines() == [
        "bound by link 19.8 Mbit/s (40.0 % of the time)",
        "hint: the network connection is full; nothing here makes it faster",
    ]


def test_an_outage_is_said_without_its_wait() -> None:
    conditions = Conditions()
    conditions.add(OUTAGE)
    assert conditions.lines() == ["no network since 14:02:31 (100.0 % of the time)"]


def test_nothing_is_said_of_nothing() -> None:
    assert Conditions().lines() == []


def test_the_log_says_when_an_outage_begins_and_ends() -> None:
    stream = io.StringIO()
    console = Console(stream)
    for condition in (LINK, None, OUTAGE, OUTAGE, LINK):
        console.progress(Counts(), condition)
    assert stream.getvalue().splitlines() == [
        "no network since 14:02:31; waiting",
        "over: no network since 14:02:31",
    ]
