"""The table of hosts: places, columns of workers, and what a collision costs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from img2ds.congestion.host_control import HostControl
from img2ds.congestion.host_refusal import Refusal, Refused
from img2ds.congestion.host_table import FORGET_AFTER, PLACES, HostTable
from img2ds.congestion.shared_file import make_run_token, remove_files


@pytest.fixture
def two() -> Iterator[tuple[HostTable, HostTable]]:
    """The tables of two workers of a machine."""
    token = make_run_token()
    first, second = HostTable(token, 0), HostTable(token, 1)
    yield first, second
    first.close()
    second.close()
    remove_files(token)


def test_all_workers_find_a_host_in_one_place(two: tuple[HostTable, HostTable]) -> None:
    first, second = two
    assert first.find("a.example", 1.0) == second.find("a.example", 2.0)
    # The hash does not depend on the process.
    assert HostTable().find("a.example", 1.0) == 2252


def test_rows_of_all_workers_count(two: tuple[HostTable, HostTable]) -> None:
    first, second = two
    place = first.find("a", 1.0)
    first.start(place)
    second.start(place)
    second.start(place)
    assert [table.active(place) for table in two] == [3, 3]
    assert [table.own(place) for table in two] == [1, 2]
    second.leave(place)
    assert first.active(place) == 2


def test_a_dead_workers_rows_are_cleared(two: tuple[HostTable, HostTable]) -> None:
    first, second = two
    place = first.find("a", 1.0)
    second.start(place)
    second.set_waiting(place, 1)
    assert first.others_wait(place)
    first.clear_worker(1)
    assert first.active(place) == 0
    assert not first.others_wait(place)
    second.leave(place)  # it was not dead, after all
    assert first.active(place) == 0


def test_workers_with_rows(two: tuple[HostTable, HostTable]) -> None:
    first, second = two
    place = first.find("a", 1.0)
    assert first.workers_with_rows(place) == 1
    second.set_waiting(place, 1)
    assert first.workers_with_rows(place) == 2
    assert second.workers_with_rows(place) == 1
    first.start(place)
    assert first.workers_with_rows(place) == second.workers_with_rows(place) == 2


def colliding(table: HostTable) -> tuple[str, str]:
    """Two hosts with one place."""
    places: dict[int, str] = {}
    for number in range(PLACES):
        name = f"host{number}"
        place = table.find(name, 0.0)
        if place in places:
            return places[place], name
        places[place] = name
    raise AssertionError("no collision")


def test_hosts_of_one_place_share_their_limits() -> None:
    table = HostTable()
    control = HostControl(table)
    one, other = colliding(table)
    place = table.find(one, 1.0)
    control.start(place, 1.0)
    control.refuse(place, Refused(Refusal.RATE, 30.0, 1.0), 1.0)
    assert table.find(other, 2.0) == place
    assert control.due(place, 2.0) == 31.0
    table.leave(place)
    assert control.due(table.find(other, 40.0), 40.0) >= 40.0
    later = 1.0 + FORGET_AFTER
    assert control.due(table.find(other, later), later) == later
    assert not control.accepted_since(place, 0.0)


def test_a_place_that_is_in_use_is_not_given_away() -> None:
    table = HostTable()
    control = HostControl(table)
    one, other = colliding(table)
    place = table.find(one, 1.0)
    control.start(place, 1.0)
    control.accept(place, 1.0, 1.5)
    table.find(other, 2.0)
    assert control.accepted_since(place, 1.0)
    table.leave(place)
    table.find(other, 3.0)
    assert not control.accepted_since(place, 1.0)
