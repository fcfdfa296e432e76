"""Runs the tasks of a build to their end: retries lost ones, and ends early when it has to.

Knows nothing of what a task is. Workers report `ShardReport`s, which end a task, and `Progress`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.core.naming import shard_name, stats_name
from img2ds.engine.cpu_time import CpuTime, TimedWorker
from img2ds.engine.distributors.contract import Distributor, TaskLost, Worker, WorkersDieError
from img2ds.engine.run_report import RunReport
from img2ds.engine.stop import StopNow, StopSwitch
from img2ds.report.console import Console
from img2ds.report.shard_report import ShardReport
from img2ds.report.units import counted
from img2ds.storage import FolderLock, OutputFolder

#: Seconds between two checks whether another run took the folder over.
LOCK_INTERVAL = 5.0


@dataclass(frozen=True, slots=True)
class RunContext:
    """What the passes of one run share.

    Attributes:
        report: is filled in; its `shards_before` is known.
        locks: of the folders that the run writes to.
        digits: digits of a shard's name.
    """

    folder: OutputFolder
    distributor: Distributor
    report: RunReport
    stop: StopSwitch
    console: Console
    locks: tuple[FolderLock, ...]
    digits: int


@dataclass(frozen=True, slots=True)
class Work:
    """The tasks of a run and how to do them.

    Attributes:
        expect: returns how many rows and shards there are to make, as far as is known by now.
        isolated: the worker for tasks that were lost before.
        last: the worker that completes partial shards.
        on_commit: called for each committed shard, after the report has counted it.
    """

    worker: Worker
    expect: Callable[[], tuple[int | None, int | None]]
    isolated: Worker
    last: Worker
    on_commit: Callable[[ShardReport[Any]], None] | None = None


class Runner:
    """The passes over the tasks of one run."""

    def __init__(self, context: RunContext, work: Work) -> None:
        self._context = context
        self._work = work
        self._report = context.report
        self._stop = context.stop
        self._console = context.console
        self._noun = context.report.labels.shard
        self._in_flight: dict[int, Any] = {}
        self._broken: dict[int, tuple[Any, str]] = {}
        self._partial: dict[int, Any] = {}
        # Workers on this machine write where this process reads.
        self._visible = not context.distributor.spans_machines
        self._next_lock_check = 0.0
        self._stop_reported = False

    def run(self, tasks: Iterator[Any], retries: int) -> None:
        """Run `tasks`, those that were lost up to `retries` times more, and partial ones last.

        Raises:
            UsageError: the tasks cannot be read; nothing was done.
        """
        console, report, stop = self._console, self._report, self._stop
        if report.shards_before:
            console.note(f"{counted(report.shards_before, self._noun)} committed before: kept")
        console.start()
        self._expect()
        try:
            self._passes(self._work.worker, tasks, retries)
            if self._partial and not stop.is_set():
                last = list(self._partial.values())
                self._partial.clear()
                report.partial = 0
                console.note(f"completing {counted(len(last), f'partial {self._noun}')}")
                self._passes(self._work.last, iter(last), retries)
            if stop.ends_soon():
                self._in_flight.clear()  # they were not begun
        except StopNow:
            pass
        except RuntimeError as error:  # the distributor gave up
            stop.set(str(error))
        except OSError as error:  # workers are all that this process itself makes here
            stop.set(f"cannot start worker processes: {(error.strerror or str(error)).lower()}")
        report.failed.update({number: why for number, (_, why) in self._broken.items()})
        for number in self._in_flight:
            report.failed.setdefault(number, "it was in flight when the run ended")
        report.stopped = stop.reason
        report.interrupted = stop.interrupted
        if not report.failed and report.stopped is None:
            console.complete()

    def _passes(self, worker: Worker, tasks: Iterator[Any], retries: int) -> None:
        """Run `tasks`, and those that were lost up to `retries` times more."""
        try:
            self._pass(worker, tasks)
        except WorkersDieError as error:
            if not retries:
                raise
            # Whatever kills them, isolated workers can live with most of it.
            self._console.warn(f"{error}: going on with one {self._noun} at a time for each")
            self._pass(self._work.isolated, self._left(tasks))
        for _ in range(retries):
            if not self._broken or self._stop.reason is not None:
                break
            again = [task for task, _ in self._broken.values()]
            self._broken.clear()
            self._console.warn(f"retrying {counted(len(again), self._noun)}")
            self._pass(self._work.isolated, iter(again))

    def _left(self, tasks: Iterator[Any]) -> Iterator[Any]:
        """Yield the tasks that a pass has lost, those it has not come to, and the rest."""
        lost = [*(task for task, _ in self._broken.values()), *self._in_flight.values()]
        self._broken.clear()
        self._in_flight.clear()
        yield from lost
        yield from tasks

    def _pass(self, worker: Worker, tasks: Iterator[Any]) -> None:
        distributor = self._context.distributor
        if distributor.spans_machines:
            worker = TimedWorker(worker)
        given, stopping = self._given(tasks), self._stop.ends_soon
        with closing(distributor.stream(worker, given, stopping)) as reports:
            for message in reports:
                if isinstance(message, TaskLost):
                    self._break(message.shard_id, message.why)
                    self._console.warn(f"{self._name(message.shard_id)} was lost: {message.why}")
                elif isinstance(message, ShardReport):
                    self._end(message)
                elif isinstance(message, CpuTime):
                    self._report.cpu_time += message.seconds
                else:
                    self._expect()
                    self._console.progress(message.tally, message.condition, message.resumed)
                    if message.resumed:
                        self._report.resumed.merge(message.tally)
                    if message.condition is not None:
                        self._report.conditions.add(message.condition)
                self._check_stop()
                self._check_locks()

    def _given(self, tasks: Iterator[Any]) -> Iterator[Any]:
        """Yield the tasks until the run has to end."""
        while not self._stop.is_set():
            try:
                task = next(tasks, None)
            except (UsageError, OSError) as error:
                if not self._in_flight and not self._report.shards_committed:
                    raise UsageError(str(error)) from error
                # Shards in flight are good: finish them, and report why no more start.
                self._stop.set(f"cannot read the rest of the input: {error}")
                return
            if task is None:
                return
            self._in_flight[task.shard_id] = task
            yield task

    def _end(self, ended: ShardReport[Any]) -> None:
        for note in ended.notes:
            self._console.note(note.rstrip())
        self._console.shard(shard_name(ended.shard_id, self._context.digits), ended)
        if ended.later is not None:
            del self._in_flight[ended.shard_id]
            self._partial[ended.shard_id] = ended.later
            self._report.partial += ended.tally.count > 0
            return
        if ended.error is not None:
            self._break(ended.shard_id, ended.error)
            if ended.fatal:
                self._stop.set(ended.error)
            return
        self._check_visible(ended.shard_id)
        del self._in_flight[ended.shard_id]
        self._report.tally.merge(ended.tally)
        self._report.shards_committed += 1
        if self._work.on_commit is not None:
            self._work.on_commit(ended)

    def _break(self, shard_id: int, why: str) -> None:
        self._broken[shard_id] = (self._in_flight.pop(shard_id), why)

    def _name(self, shard_id: int) -> str:
        return f"{self._noun} {shard_name(shard_id, self._context.digits)}"

    def _expect(self) -> None:
        self._console.expect(*self._work.expect())

    def _check_visible(self, shard_id: int) -> None:
        """End the run when a shard of another machine is not in the folder as seen from here."""
        if self._visible:
            return
        folder = self._context.folder
        if not folder.is_visible(stats_name(shard_id, self._context.digits)):
            why = (
                f"{self._name(shard_id)} was committed on another machine and is not in "
                f"{folder.path} here: name a folder that all machines share"
            )
            self._break(shard_id, why)
            self._stop.set(why)
            raise StopNow
        self._visible = True  # one is enough: they all go to the same place

    def _check_stop(self) -> None:
        if self._stop.interrupted and not self._stop_reported:
            self._stop_reported = True
            how = (
                self._report.labels.stop
                or f"finishing the {self._noun}s in flight, starting no more"
            )
            self._console.warn(f"stopping: {how}; press Ctrl-C again to stop at once")

    def _check_locks(self) -> None:
        now = time.monotonic()
        if now > self._next_lock_check:
            self._next_lock_check = now + LOCK_INTERVAL
            if any(lock.lost for lock in self._context.locks):
                self._stop.set("another run took the output folder over")
                raise StopNow
