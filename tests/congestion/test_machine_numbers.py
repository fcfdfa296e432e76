"""The numbers of a machine's workers, and what becomes of those who die."""

from __future__ import annotations

import os

from img2ds.congestion.host_table import HostTable
from img2ds.congestion.machine import Machine
from img2ds.congestion.shared_file import make_run_token, remove_files


def test_a_dead_workers_rows_are_cleared_by_the_leader() -> None:
    token = make_run_token()
    try:
        leader = Machine(token)
        assert leader.leads()
        table = HostTable(token, leader.index)
        child = os.fork()
        if not child:
            machine = Machine(token)
            other = HostTable(token, machine.index)
            other.start(other.find("a", 1.0))
            os._exit(machine.index)
        died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert died != leader.index
        table.clock = lambda: 1.0
        place = table.find("a", 1.0)
        assert table.active(place) == 1
        dead: list[int] = []
        leader.when_dead += [dead.append, table.clear_worker]
        leader.sweep()
        assert dead == [died]
        assert table.active(place) == 0
        leader.close()
    finally:
        remove_files(token)
