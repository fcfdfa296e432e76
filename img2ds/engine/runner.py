"""Runs tasks to their end: distributes them, makes lost ones again, ends early when told.

Knows nothing of what a task is: img2ds's shards and laion's parts go the same way.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.engine.distributors.contract import Distributor, TaskLost, Worker
from img2ds.engine.stop import StopNow, StopSwitch
from img2ds.report.console import Console, Labels, counted
from img2ds.report.counters import Counts
from img2ds.report.shard_report import ShardReport
from img2ds.storage import FolderLock

#: Seconds between two looks at whether another run took the folder over.
LOCK_INTERVAL = 5.0
#: Seconds between two words of a worker on the CPU time it took.
CPU_INTERVAL = 2.0


@dataclass(slots=True)
class RunReport:
    """What a run did.

    Attributes:
        tally: the rows of the shards that this run committed.
        shards_committed, shards_before: shards committed by this run, and before it.
        failed: by shard why it could not be made.
        stopped: why the run ended early, None if it did not.
        interrupted: whether it was stopped by a signal.
        wall_time, cpu_time: seconds; the latter of this process and of all workers, wherever
            they are.
    """

    output_folder: str
    tally: Counts = field(default_factory=Counts)
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


class Runner:
    """The passes over the tasks of one run.

    Workers report `ShardReport`s, which end a task, and `Progress`.

    Args:
        report: is filled in; its `shards_before` is known.
        name: what people call the shard of a number.
        expect: called whenever there may be news of how much there is to do.
        sees: whether the commit marker of a shard is there, seen from this process.
        careful: the worker for tasks that broke before, by default the same.
        committed: is told of every shard that was committed, when `report` has it.
    """

    def __init__(
        self,
        report: RunReport,
        worker: Worker,
        stop: StopSwitch,
        lock: FolderLock,
        console: Console,
        name: Callable[[int], str],
        expect: Callable[[], None],
        words: Labels | None = None,
        is_visible: Callable[[int], bool] | None = None,
        isolated: Worker | None = None,
        committed: Callable[[ShardReport[Any]], None] | None = None,
    ) -> None:
        self._is_visible = is_visible
        self._report = report
        self._worker = worker
        self._isolated = isolated or worker
        self._committed = committed
        self._stop = stop
        self._lock = lock
        self._console = console
        self._name = name
        self._expect = expect
        self._words = words or Labels()
        self._in_flight: dict[int, Any] = {}
        self._broken: dict[int, tuple[Any, str]] = {}
        self._next_look = 0.0
        self._stop_reported = False

    def run(self, distributor: Distributor, tasks: Iterator[Any], retries: int) -> None:
        """Run `tasks`, and those that broke up to `retries` times more.

        Raises:
            UsageError: the tasks cannot be had, and nothing was done.
        """
        console, report, stop = self._console, self._report, self._stop
        if report.shards_before:
            noun = counted(report.shards_before, self._words.shard)
            console.note(f"{noun} committed before; they stay as they are")
        console.start()
        self._expect()
        try:
            self._pass(distributor, self._worker, tasks)
            for _ in range(retries):
                if not self._broken or stop.reason is not None:
                    break
                again = [task for task, _ in self._broken.values()]
                self._broken.clear()
                noun = counted(len(again), self._words.shard)
                console.note(f"making {noun} again that could not be made")
                self._pass(distributor, self._isolated, iter(again))
            stop.armed = False  # what a second signal would stop is over
        except StopNow:
            pass
        except RuntimeError as error:  # the distributor gave up
            stop.set(str(error))
        report.failed.update({number: why for number, (_, why) in self._broken.items()})
        for number in self._in_flight:
            report.failed.setdefault(number, "it was in flight when the run ended")
        report.stopped = stop.reason
        report.interrupted = stop.interrupted

    def _pass(self, distributor: Distributor, worker: Worker, tasks: Iterator[Any]) -> None:
        if distributor.spans_machines:
            worker = TimedWorker(worker)
        with closing(distributor.stream(worker, self._given(tasks))) as reports:
            for message in reports:
                if isinstance(message, TaskLost):
                    self._break(message.shard_id, message.why)
                elif isinstance(message, ShardReport):
                    self._end(message)
                elif isinstance(message, CpuTime):
                    self._report.cpu_time += message.seconds
                else:
                    self._expect()
                    self._console.progress(message.tally)
                self._look_at_stop()
                self._look_at_lock()

    def _given(self, tasks: Iterator[Any]) -> Iterator[Any]:
        """The tasks, as long as the run is not to end."""
        while not self._stop.is_set():
            try:
                task = next(tasks, None)
            except (UsageError, OSError) as error:
                if not self._in_flight and not self._report.shards_committed:
                    raise UsageError(str(error)) from error
                # Shards in flight are good: finish them, and say why there are no more.
                self._stop.set(f"the input cannot be read on: {error}")
                return
            if task is None:
                return
            self._in_flight[task.shard_id] = task
            yield task

    def _end(self, ended: ShardReport[Any]) -> None:
        for note in ended.notes:
            self._console.note(note.rstrip())
        self._console.shard(self._name(ended.shard_id), ended)
        if ended.error is not None:
            self._break(ended.shard_id, ended.error, told=True)
            if ended.fatal:
                self._stop.set(ended.error)
            return
        if self._is_visible is not None:
            if not self._is_visible(ended.shard_id):
                why = (
                    f"{self._words.shard} {self._name(ended.shard_id)} was committed on another "
                    f"machine and is not in {self._report.output_folder} here: name a folder that "
                    "all machines share"
                )
                self._break(ended.shard_id, why, told=True)
                self._stop.set(why)
                raise StopNow
            self._is_visible = None  # one is enough: they all go to the same place
        del self._in_flight[ended.shard_id]
        self._report.tally.merge(ended.tally)
        self._report.shards_committed += 1
        if self._committed is not None:
            self._committed(ended)

    def _break(self, shard_id: int, why: str, told: bool = False) -> None:
        self._broken[shard_id] = (self._in_flight.pop(shard_id), why)
        if not told:
            self._console.note(f"{self._words.shard} {self._name(shard_id)} was lost: {why}")

    def _look_at_stop(self) -> None:
        if self._stop.interrupted and not self._stop_reported:
            self._stop_reported = True
            self._console.note(
                f"stopping: no more {self._words.shard}s are started, those in flight are being "
                "finished; once more (Ctrl-C) stops at once"
            )

    def _look_at_lock(self) -> None:
        now = time.monotonic()
        if now > self._next_look:
            self._next_look = now + LOCK_INTERVAL
            if self._lock.lost:
                self._stop.set("another run took the output folder over")
                raise StopNow


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds of user and system time that a worker's process took since it last said so."""

    seconds: float
    shard_id: None = None


@dataclass(frozen=True, slots=True)
class TimedWorker:
    """A worker that also reports its `CpuTime`, for where nobody can ask its system."""

    worker: Worker

    def __call__(self, tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
        told, looked = time.process_time(), time.monotonic()

        def tell(report: Any) -> None:
            nonlocal told, looked
            if report is None or time.monotonic() > looked + CPU_INTERVAL:
                told, before = time.process_time(), told
                looked = time.monotonic()
                emit(CpuTime(told - before))
            if report is not None:
                emit(report)

        self.worker(tasks, tell)
        tell(None)


def cpu_time() -> float:
    """Seconds of user and system time of this process and those it has waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def describe_end(report: RunReport, words: Labels | None = None) -> list[str]:
    """How far a run came, and how to go on from there."""
    noun = (words or Labels()).shard
    missing = len(report.failed)
    lines = [
        f"{counted(report.shards_committed, noun)} committed by this run"
        + (f", {report.shards_before} before" if report.shards_before else "")
        + (f", {missing} not finished" if missing else "")
        + f"; they are in {report.output_folder}"
    ]
    if report.stopped is not None:
        lines.append(
            f"{report.stopped}; what is committed stays, the same command goes on from here"
        )
    elif missing:
        lines.append("the same command makes the missing ones")
    return lines
