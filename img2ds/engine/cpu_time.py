"""CPU time of a run: that of this process and its workers, wherever they are."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from img2ds.engine.distributors.contract import Worker

#: Seconds between two reports of the CPU time that a worker took.
REPORT_INTERVAL = 2.0


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds of user and system time that a worker's process took since its last report."""

    seconds: float
    shard_id: None = None


@dataclass(frozen=True, slots=True)
class TimedWorker:
    """A worker that also reports its `CpuTime`, for machines whose system cannot be asked."""

    worker: Worker

    def __call__(self, tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
        reported, asked = time.process_time(), time.monotonic()

        def emit_with_time(report: Any) -> None:
            nonlocal reported, asked
            if report is None or time.monotonic() > asked + REPORT_INTERVAL:
                reported, before = time.process_time(), reported
                asked = time.monotonic()
                emit(CpuTime(reported - before))
            if report is not None:
                emit(report)

        self.worker(tasks, emit_with_time)
        emit_with_time(None)


def cpu_time() -> float:
    """Return the seconds of user and system time of this process and those it has waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
