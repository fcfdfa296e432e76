"""Whose fault the failure of a row is: the evidence of its attempt, and of those before it."""

from __future__ import annotations

import trio

from img2ds.congestion.attribution import (
    BY_CHANCE,
    CONNECTING,
    OF_THE_NETWORK,
    Fault,
    all_lost,
    attribute,
)
from img2ds.congestion.controller import Controller
from img2ds.core.failure import Failure
from img2ds.downloader.row import Row, RowEnd

#: Seconds before a failure that are evidence, too: some attempts fail at once.
MIN_EVIDENCE = 3.0


def fault_of(row: Row, outcome: Failure | RowEnd, started: float, controller: Controller) -> Fault:
    """Return whose fault the outcome of an attempt is, and note in the row what it tells.

    Args:
        started: when the attempt began, on trio's clock.
        controller: knows what the network did meanwhile.
    """
    if not isinstance(outcome, Failure) or outcome.reason not in OF_THE_NETWORK:
        return Fault.ROW
    now = trio.current_time()
    started = min(started, now - MIN_EVIDENCE)
    row.clear_for = 0.0
    growth, outage = controller.growth_since(started), controller.was_out(started)
    fault = attribute(outcome, growth, now - started, outage)
    if fault is Fault.SHARED and not outage and outcome.reason in CONNECTING:
        row.clear_for = controller.clear_for(now - started)
        if row.clear_for:
            return Fault.ROW
        row.silent_by_chance *= all_lost(growth)
        if row.silent_by_chance < BY_CHANCE:
            return Fault.ROW
    return fault
