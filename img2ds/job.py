"""A run from its options to its report: plan, distribute, tally, tell. Wires what lives in the parent."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from img2ds.distributor import TaskLost, open_distributor
from img2ds.ledger import open_ledger
from img2ds.net.fetcher import open_fetcher
from img2ds.options import Options
from img2ds.planner import Plan, plan
from img2ds.sample import ShardTask
from img2ds.stats.console import Console
from img2ds.stats.report import Progress, ShardReport
from img2ds.stats.tally import Tally
from img2ds.storage import OutputFolder
from img2ds.worker import ShardWorker, check_descriptors


@dataclass(slots=True)
class Report:
    """What a run did.

    `tally` counts the rows of the shards committed by this run. Times in seconds; `cpu_time` is
    user and system time of this process and its workers.
    """

    output_folder: str
    tally: Tally = field(default_factory=Tally)
    shards_committed: int = 0
    shards_before: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    stopped: str | None = None
    interrupted: bool = False
    wall_time: float = 0.0
    cpu_time: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 when every shard is committed, 1 when some are not, 130 when stopped by hand."""
        if self.interrupted:
            return 130
        return 1 if self.failed or self.stopped else 0


class StopNow(BaseException):
    """The second signal: drop the shards in flight."""


class StopSwitch:
    """Turns signals into a flag, and the second one into StopNow."""

    def __init__(self, console: Console) -> None:
        self.reason: str | None = None
        self.by_hand = False
        self._console = console

    def set(self, reason: str) -> None:
        """Start no more shards."""
        if self.reason is None:
            self.reason = reason

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.by_hand:
            raise StopNow
        self.by_hand = True
        self.set(f"stopped by {signal.Signals(number).name}")
        self._console.note(
            "stopping: no new shards are started, those in flight are being finished; "
            "press Ctrl-C again to stop at once"
        )


def run(options: Options) -> Report:
    """Make the data set. Blocks until it is done or stopped.

    Raises:
        UsageError: something about the input, the options or the output folder cannot work;
            nothing was downloaded.
    """
    started = time.monotonic()
    check_descriptors(options)
    open_fetcher(options.network)  # what the workers could only fail at, said here once
    rows_per_shard = options.output.number_sample_per_shard
    the_plan = plan(options.input, rows_per_shard)
    processes = options.run.processes_count or len(os.sched_getaffinity(0))
    distributor = open_distributor(options.run.distributor, processes)
    folder = OutputFolder.open(options.output.output_folder, options.output.tmp_dir)
    console = Console(sys.stderr)
    if options.run.dry_run:
        console.note(_describe(the_plan, options, processes))
        return Report(options.output.output_folder)
    with ExitStack() as stack:
        stack.enter_context(folder.lock(options.output.force))
        ledger = stack.enter_context(open_ledger(folder, options, the_plan))
        report = Report(options.output.output_folder, shards_before=len(ledger.committed()))
        run = _Run(options, folder, ledger, console, report)
        stack.enter_context(run.signals())
        ...
    return report
