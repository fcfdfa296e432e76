"""Rows that are held until it is clear whether a portal sent their page."""

from __future__ import annotations

from typing import cast

from img2ds.congestion.portal import page_of
from img2ds.core.failure import Reason, failure
from img2ds.downloader.held_pages import HELD_FOR, HeldPages
from img2ds.downloader.row import Row
from img2ds.downloader.shard import Shard

OUTCOME = failure(Reason.NOT_AN_IMAGE)


class Setup:
    def __init__(self) -> None:
        self.settled: list[tuple[str, bool]] = []
        self.pages = HeldPages(lambda row, _, portal: self.settled.append((row.host, portal)))

    def add(self, now: float, host: str, body: bytes = b"<html>") -> None:
        page = page_of(OUTCOME.reason, body, "")
        assert page is not None
        self.pages.add(now, Row(cast(Shard, None), 0, host), OUTCOME, page)


def test_the_first_pages_of_a_portal_are_its_too() -> None:
    setup = Setup()
    for host in "ab":
        setup.add(1.0, host)
        setup.pages.release(1.0, idle=False)
    assert setup.settled == []
    setup.add(1.1, "c")
    assert setup.settled == [("a", True), ("b", True), ("c", True)]


def test_another_page_stays_held() -> None:
    setup = Setup()
    setup.add(1.0, "other", b"<html>gone")
    for host in "abc":
        setup.add(1.0, host)
    assert ("other", True) not in setup.settled
    setup.pages.release(1.0 + HELD_FOR, idle=False)
    assert setup.settled[-1] == ("other", False)


def test_a_page_alone_is_its_hosts_after_a_while() -> None:
    setup = Setup()
    setup.add(1.0, "a")
    setup.pages.release(0.9 + HELD_FOR, idle=False)
    assert setup.settled == []
    setup.pages.release(1.0 + HELD_FOR, idle=False)
    assert setup.settled == [("a", False)]


def test_an_idle_worker_waits_for_no_further_page() -> None:
    setup = Setup()
    setup.add(1.0, "a")
    setup.pages.release(1.0, idle=True)
    assert setup.settled == [("a", False)]
