"""Files that processes share, and what a dead process leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from img2ds.congestion import shared_file
from img2ds.congestion.machine import SWEEP_INTERVAL, Machine
from img2ds.congestion.shared_file import (
    SharedFile,
    make_run_token,
    remove_files,
    remove_stale_files,
    run_files,
)
from img2ds.congestion.signals import Signal

_CHILD = """
import os, sys
from img2ds.congestion.machine import Machine
from img2ds.congestion.signals import Signal
machine = Machine(sys.argv[1])
machine.cell[Signal.OPEN] = 7
machine.cell[Signal.ANSWERS] = 3
print(machine.index, machine.leads(), flush=True)
sys.stdin.readline()
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def token() -> Iterator[str]:
    made = make_run_token()
    yield made
    remove_files(made)


class Other:
    """Another process with a cell."""

    def __init__(self, token: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, token], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.index, self.leads = self.process.stdout.readline().split()

    def kill(self) -> None:
        self.process.communicate("\n")


def _sweep(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine._next_sweep = 0.0
    machine.sweep()
    assert machine._next_sweep > SWEEP_INTERVAL


def test_all_workers_see_the_sum_and_one_leads(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(token)
    machine.cell[Signal.OPEN] = 5
    assert machine.leads()
    other = Other(token)
    assert (other.index, other.leads) == ("1", "False")
    _sweep(machine, monkeypatch)
    assert machine.total(Signal.OPEN) == 12
    assert machine.count_alive() == 2
    other.kill()
    _sweep(machine, monkeypatch)
    assert machine.total(Signal.OPEN) == 5
    assert machine.total(Signal.ANSWERS) == 3  # counters only grow
    assert machine.count_alive() == 1
    again = Other(token)
    assert again.index == "1"
    again.kill()
    machine.close()


def test_another_worker_leads_when_the_leader_is_dead(token: str) -> None:
    leader = Other(token)
    machine = Machine(token)
    assert (leader.leads, machine.leads()) == ("True", False)
    leader.kill()
    assert machine.leads()
    machine.close()


def test_files_of_living_processes_are_not_stale(token: str) -> None:
    path = shared_file._path(token, "machine")
    other = Other(token)
    remove_stale_files()
    assert path.exists()
    assert os.stat(path).st_mode & 0o077 == 0
    other.kill()
    remove_stale_files()
    assert not path.exists()


def test_files_of_a_run_go_with_it() -> None:
    with run_files() as token:
        path = shared_file._path(token, "machine")
        machine = Machine(token)
        assert path.exists()
    assert not path.exists()
    machine.close()


def test_without_a_place_for_files_a_worker_is_alone(
    token: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shared_file, "_folder", lambda: tmp_path / "missing")
    machine = Machine(token)
    machine.cell[Signal.OPEN] = 1
    assert machine.leads()
    assert machine.total(Signal.OPEN) == 1
    assert Machine(token).total(Signal.OPEN) == 0


def test_a_file_is_shared_by_name(token: str) -> None:
    first, second, third = (SharedFile(token, name, 64) for name in ("a", "a", "b"))
    first.memory[:3] = b"abc"
    assert second.memory[:3] == b"abc"
    assert third.memory[:3] == b"\0\0\0"
    for file in (first, second, third):
        file.close()
