"""A run from its options to its report: plan, distribute, tally, tell.

Wires what lives in the parent process.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from img2ds import adoption
from img2ds.distributor import Distributor, TaskLost, open_distributor
from img2ds.ledger import Ledger, open_ledger
from img2ds.naming import shard_name
from img2ds.net.fetcher import open_fetcher
from img2ds.options import Options
from img2ds.outcome import UsageError
from img2ds.planner import Input, Plan, open_input
from img2ds.sample import ShardTask
from img2ds.stats.console import Console, counted
from img2ds.stats.report import ShardReport
from img2ds.stats.summary import hints, speed, table
from img2ds.stats.tally import Tally
from img2ds.stop import StopNow, StopSwitch
from img2ds.storage import FolderLock, OutputFolder
from img2ds.worker import ShardWorker, check_descriptors

#: Seconds between two looks at whether another run took the folder over.
LOCK_INTERVAL = 5.0


@dataclass(slots=True)
class Report:
    """What a run did.

    Attributes:
        tally: the rows of the shards that this run committed.
        shards_committed, shards_before: shards committed by this run, and before it.
        failed: by shard why it could not be made.
        stopped: why the run ended early, None if it did not.
        interrupted: whether it was stopped by a signal.
        wall_time, cpu_time: seconds; the latter of all processes on this machine.
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


def run(options: Options) -> Report:
    """Make the data set. Blocks until it is done or stopped.

    Raises:
        UsageError: something about the input, the options or the output folder cannot work;
            nothing was downloaded.
    """
    started, cpu = time.monotonic(), _cpu_time()
    check_descriptors(options)
    open_fetcher(options.network)  # what workers could only fail at is said here, once
    source = open_input(options.input)
    processes = options.run.processes_count or len(os.sched_getaffinity(0))
    distributor = open_distributor(options.run.distributor, processes)
    folder = OutputFolder.open(options.output.output_folder, options.output.tmp_dir)
    _check_apart(source, folder)
    console = Console(sys.stderr)
    if options.run.dry_run:
        committed = len(_open_ledger(options, source, folder).committed_here())
        console.note(_description(source, options, processes, committed))
        return Report(folder.path, shards_before=committed)
    with ExitStack() as stack:
        lock = stack.enter_context(folder.lock(options.output.force))
        stack.callback(folder.close)
        folder.clean_aside()
        try:
            ledger = _open_ledger(options, source, folder)
            ledger.begin()
        except OSError as error:
            raise UsageError(f"cannot use the output folder {folder.path}: {error}") from None
        job = _Job(options, source, folder, lock, ledger, console)
        stack.enter_context(job.stop)
        stack.callback(console.close)
        job.run(distributor)
        if job.plan.shard_count is not None:
            ledger.set_shard_count(job.plan.shard_count)
    report = job.report
    report.wall_time = time.monotonic() - started
    report.cpu_time = _cpu_time() - cpu
    return report


def _open_ledger(options: Options, source: Input, folder: OutputFolder) -> Ledger:
    return open_ledger(
        folder,
        options.output.incremental_mode,
        source.fingerprint(),
        options.shard_identity(),
        source.shard_count(options.output.number_sample_per_shard),
        lambda there, committed: adoption.difference(source, options, there, committed),
    )


class _Job:
    """The passes over the shards of one run."""

    def __init__(
        self,
        options: Options,
        source: Input,
        folder: OutputFolder,
        lock: FolderLock,
        ledger: Ledger,
        console: Console,
    ) -> None:
        self.plan = Plan(
            source,
            options.output.number_sample_per_shard,
            ledger.segment.first_shard,
            ledger.committed_here(),
        )
        self.report = Report(folder.path, shards_before=len(ledger.committed_here()))
        self.stop = StopSwitch(options.run.max_runtime)
        self._options = options
        self._lock = lock
        self._console = console
        self._worker = ShardWorker(options, folder)
        self._in_flight: dict[int, ShardTask] = {}
        self._broken: dict[int, tuple[ShardTask, str]] = {}
        self._next_look = 0.0
        self._told_of_stop = False
        if ledger.adopted:
            console.note(
                f"going on with {counted(len(ledger.committed), 'shard')} made by img2dataset"
            )

    def run(self, distributor: Distributor) -> None:
        console, report = self._console, self.report
        if report.shards_before:
            console.note(
                f"{counted(report.shards_before, 'shard')} committed before; they stay as they are"
            )
        console.start()
        self._expect()
        try:
            self._pass(distributor, self.plan.tasks())
            for _ in range(self._options.run.max_shard_retry):
                if not self._broken or self.stop.reason is not None:
                    break
                again = [task for task, _ in self._broken.values()]
                self._broken.clear()
                console.note(f"making {counted(len(again), 'shard')} again that could not be made")
                self._pass(distributor, iter(again))
        except StopNow:
            pass
        except RuntimeError as error:  # the distributor gave up
            self.stop.set(str(error))
        report.failed.update({number: why for number, (_, why) in self._broken.items()})
        for number in self._in_flight:
            report.failed.setdefault(number, "it was in flight when the run ended")
        report.stopped = self.stop.reason
        report.interrupted = self.stop.by_hand
        if not self.plan.shard_count and report.stopped is None:
            raise UsageError(f"{self._options.input.url_list} has no rows: nothing to download")

    def _pass(self, distributor: Distributor, tasks: Iterator[ShardTask]) -> None:
        with closing(distributor.stream(self._worker, self._given(tasks))) as reports:
            for message in reports:
                if isinstance(message, TaskLost):
                    self._break(message.shard_id, message.why)
                elif isinstance(message, ShardReport):
                    self._end(message)
                else:
                    self._expect()
                    self._console.progress(message.tally)
                self._look_at_stop()
                self._look_at_lock()

    def _given(self, tasks: Iterator[ShardTask]) -> Iterator[ShardTask]:
        """The tasks, as long as the run is not to end."""
        while not self.stop.is_set():
            try:
                task = next(tasks, None)
            except (UsageError, OSError) as error:
                if not self._in_flight and not self.report.shards_committed:
                    raise UsageError(str(error)) from error
                # Shards in flight are good: finish them, and say why there are no more.
                self.stop.set(f"the input cannot be read on: {error}")
                return
            if task is None:
                return
            self._in_flight[task.shard_id] = task
            yield task

    def _end(self, ended: ShardReport) -> None:
        for note in ended.notes:
            self._console.note(note.rstrip())
        self._console.shard(self._name(ended.shard_id), ended)
        if ended.error is not None:
            self._break(ended.shard_id, ended.error, told=True)
            if ended.fatal:
                self.stop.set(ended.error)
            return
        del self._in_flight[ended.shard_id]
        self.report.tally.merge(ended.tally)
        self.report.shards_committed += 1

    def _break(self, shard_id: int, why: str, told: bool = False) -> None:
        self._broken[shard_id] = (self._in_flight.pop(shard_id), why)
        if not told:
            self._console.note(f"shard {self._name(shard_id)} was lost: {why}")

    def _name(self, shard_id: int) -> str:
        return shard_name(shard_id, self._options.output.oom_shard_count)

    def _expect(self) -> None:
        """Tell the console how much there is to do, as far as it is known by now."""
        count = self.plan.shard_count
        shards = None if count is None else count - self.report.shards_before
        self._console.expect(self.plan.expected_rows(), shards)

    def _look_at_stop(self) -> None:
        if self.stop.by_hand and not self._told_of_stop:
            self._told_of_stop = True
            self._console.note(
                "stopping: no more shards are started, those in flight are being finished; "
                "once more (Ctrl-C) stops at once"
            )

    def _look_at_lock(self) -> None:
        now = time.monotonic()
        if now > self._next_look:
            self._next_look = now + LOCK_INTERVAL
            if self._lock.lost:
                self.stop.set("another run took the output folder over")
                raise StopNow


def _check_apart(source: Input, folder: OutputFolder) -> None:
    """Whether no file of the input lies where shards would replace it."""
    for file in source.files:
        if file.path.rpartition("/")[0] == folder.path:
            raise UsageError(
                f"{file.path} lies in the output folder, whose files are replaced: "
                "choose another --output_folder"
            )


def _description(source: Input, options: Options, processes: int, committed: int) -> str:
    """What a run would do, for --dry_run."""
    rows = source.row_count
    count = source.shard_count(options.output.number_sample_per_shard)
    return (
        counted(len(source.files), f"{source.input_format} file")
        + (f" of {source.size:,} bytes" if source.size else "")
        + (f", {counted(rows, 'row')}, " if rows is not None else "")
        + (counted(count, "shard") if count is not None else "")
        + (f", {committed} of them committed" if committed else "")
        + f"; {processes} x {options.network.thread_count} requests in flight; "
        f"{options.output.output_format} into {options.output.output_folder}; nothing was done"
    )


def _cpu_time() -> float:
    """Seconds of user and system time of this process and those it has waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def describe(report: Report) -> str:
    """What people read at the end of a run."""
    parts = []
    if report.tally.count:
        parts += [table(report.tally), ""]
        parts.append(speed(report.tally, report.wall_time, report.cpu_time))
    parts += [f"hint: {line}" for line in hints(report.tally)]
    missing = len(report.failed)
    parts.append(
        f"{counted(report.shards_committed, 'shard')} committed by this run"
        + (f", {report.shards_before} before" if report.shards_before else "")
        + (f", {missing} not finished" if missing else "")
        + f"; they are in {report.output_folder}"
    )
    if report.stopped is not None:
        parts.append(
            f"{report.stopped}; what is committed stays, the same command goes on from here"
        )
    elif missing:
        parts.append("the same command makes the missing ones")
    return "\n".join(parts)
