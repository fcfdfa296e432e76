"""Builds: the one place that puts together a run's lock, manifest, workers, stopping and console.

    with open_build(spec, RunReport()) as build:
        build.run(worker, tasks)
        ...  # what has to happen after all shards are committed, while the folder is locked
    return build.report

`img2ds` itself, the stages of laion, `reshard`, `verify` and `tag --purge` use it, so that
retries, Ctrl-C, a full disk and messages are the same everywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from img2ds.core.failure import UsageError
from img2ds.core.rank import ALONE, Rank
from img2ds.engine.distributors.contract import Task, Worker
from img2ds.engine.distributors.factory import open_distributor
from img2ds.engine.manifest import Manifest, Segment, SegmentSpec, open_manifest
from img2ds.engine.marker_cache import MarkerCache
from img2ds.engine.run_report import RunReport
from img2ds.engine.runner import RunContext, Runner, Work
from img2ds.engine.shard_output import DIGITS, cannot_write
from img2ds.engine.stop import StopNow, StopSwitch
from img2ds.report.console import Console, Verbosity
from img2ds.report.shard_report import ShardReport
from img2ds.report.units import counted
from img2ds.storage import FolderLock, Listing, OutputFolder

#: Damaged shards that are named.
_LISTED = 5

ReportT = TypeVar("ReportT", bound=RunReport)


@dataclass(frozen=True, kw_only=True)
class BuildSpec:
    """Where a build goes, what it makes, and who does the work.

    Attributes:
        segment: the shards to make; None for a run over shards that are there already, which
            leaves the manifest alone.
        lock: whether the folder is written to: then it is locked, and leftovers are removed.
        more_folders: other folders that the run writes to.
        digits: digits of a shard's name.
        retries: further attempts at a lost shard.
        max_runtime: seconds after which no more shards are started, None for no limit.
        gpus: workers use a GPU each where there are any.
        verbosity: what the console shows.
        rank: the run among those that share the folder.
    """

    output_folder: str
    segment: SegmentSpec | None = None
    tmp_dir: str | None = None
    force: bool = False
    lock: bool = True
    more_folders: tuple[OutputFolder, ...] = ()
    digits: int = DIGITS
    distributor: str = "multiprocessing"
    processes_count: int | None = None
    subjob_size: int = 1000
    gpus: bool = False
    retries: int = 1
    max_runtime: float | None = None
    verbosity: Verbosity = Verbosity()
    rank: Rank = ALONE


@dataclass(slots=True)
class Build(Generic[ReportT]):
    """A build that is open: its folder is locked, its manifest written.

    Attributes:
        first_shard: the number of the first shard of its input.
        committed: shards of its input that are committed already.
    """

    folder: OutputFolder
    report: ReportT
    stop: StopSwitch
    console: Console
    first_shard: int = 0
    committed: set[int] = field(default_factory=set)
    _context: RunContext = field(kw_only=True)
    _retries: int = field(kw_only=True)
    _manifest: Manifest | None = None

    @property
    def segments(self) -> list[Segment]:
        """All segments of the folder, with those of other inputs; none without a manifest."""
        return [] if self._manifest is None else self._manifest.segments

    @property
    def all_committed(self) -> set[int]:
        """The committed shards of all segments, when the build began."""
        return set() if self._manifest is None else self._manifest.committed

    @property
    def from_img2dataset(self) -> bool:
        """Whether the committed shards are img2dataset's."""
        return self._manifest is not None and self._manifest.from_img2dataset

    @property
    def lost(self) -> bool:
        """Whether another run took a folder over."""
        return any(lock.lost for lock in self._context.locks)

    def run(
        self,
        worker: Worker,
        tasks: Iterable[Task],
        *,
        expect: Callable[[], tuple[int | None, int | None]] | None = None,
        isolated: Worker | None = None,
        last: Worker | None = None,
        on_commit: Callable[[ShardReport[Any]], None] | None = None,
    ) -> ReportT:
        """Run the tasks whose shards are not committed yet. Blocks until they are done or stopped.

        Args:
            expect: returns how many rows and shards there are to make, as far as is known by
                now; by default estimated from the tasks.
            isolated: the worker for tasks that were lost before; by default `worker`.
            last: the worker that completes partial shards; by default `worker`.
            on_commit: called for each committed shard, after the report has counted it.

        Raises:
            UsageError: the tasks cannot be read; nothing was done.
        """
        missing = (task for task in tasks if task.shard_id not in self.committed)
        if expect is None:
            known = list(missing)
            missing, expect = (task for task in known), self._estimate(known)
        cache = None if self._manifest is None else MarkerCache(self.folder, Listing())

        def committed(ended: ShardReport[Any]) -> None:
            if cache is not None and ended.marker is not None:
                self._cached(partial(cache.add, ended.marker))
            if on_commit is not None:
                on_commit(ended)

        work = Work(worker, expect, isolated or worker, last or worker, committed)
        Runner(self._context, work).run(missing, self._retries)
        if cache is not None and not self.lost:
            self._cached(cache.close)
        return self.report

    def _cached(self, write: Callable[[], None]) -> None:
        """Write to the marker cache: without it the next run takes longer, which is no failure."""
        try:
            write()
        except OSError as error:
            words = (error.strerror or str(error)).lower()
            self.console.warn(f"cannot write the cache of commit markers: {words}")

    def _estimate(self, missing: Sequence[Task]) -> Callable[[], tuple[int | None, int | None]]:
        """Estimate rows from the shards that were made so far."""

        def expect() -> tuple[int | None, int | None]:
            made = self.report.shards_committed
            rows = round(self.report.tally.count * len(missing) / made) if made else None
            return rows, len(missing)

        return expect

    def set_shard_count(self, count: int) -> None:
        """Record how many shards the input turned out to have. Raises OSError."""
        if self._manifest is not None:
            self._manifest.set_shard_count(count)

    def record_stop(self) -> None:
        """Report that work after the shards ended early, as the stop switch says."""
        self.report.stopped = self.stop.reason
        self.report.interrupted = self.stop.interrupted


@contextmanager
def open_build(spec: BuildSpec, report: ReportT) -> Iterator[Build[ReportT]]:
    """Lock the folder and open its manifest; release everything at the end.

    In the block an OSError or a second Ctrl-C ends the build early; `report` records why.

    Args:
        report: is filled in.

    Raises:
        UsageError: the options or the folder cannot work, or another run holds it; nothing was
            done.
    """
    distributor = open_distributor(
        spec.distributor, spec.processes_count, spec.subjob_size, gpus=spec.gpus
    )
    folder = OutputFolder.open(
        spec.output_folder, spec.tmp_dir, distributor.spans_machines, spec.rank
    )
    report.output_folder = folder.path
    console = Console(sys.stderr, report.labels, spec.verbosity)
    with ExitStack() as stack:
        locks = _lock_folders(stack, spec, folder)
        manifest = None
        if spec.segment is not None:
            manifest = read_manifest(folder, spec.segment)
        with _usable(folder):
            stack.enter_context(distributor)
            if manifest is not None:
                manifest.begin()
        stop = stack.enter_context(StopSwitch(spec.max_runtime))
        stack.callback(console.close)
        context = RunContext(folder, distributor, report, stop, console, locks, spec.digits)
        build = Build(folder, report, stop, console, _context=context, _retries=spec.retries)
        if manifest is not None:
            build._manifest = manifest
            build.first_shard = manifest.segment.first_shard
            build.committed = manifest.committed_here()
            report.shards_before = len(build.committed)
            _note_damaged(manifest, report, console)
        try:
            yield build
        except StopNow:
            build.record_stop()
        except OSError as error:
            report.stopped = report.stopped or _failure(folder, error)
        finally:
            stop.armed = False  # what a second signal would stop is over
    report.stop_clock()


def _note_damaged(manifest: Manifest, report: RunReport, console: Console) -> None:
    noun, damaged = report.labels.shard, sorted(manifest.damaged.items())
    for number, why in damaged[:_LISTED]:
        console.warn(f"{noun} {number} is rebuilt: {why}")
    if len(damaged) > _LISTED:
        console.warn(f"{counted(len(damaged) - _LISTED, f'more {noun}')} are rebuilt")


def read_manifest(folder: OutputFolder, segment: SegmentSpec) -> Manifest:
    """Return the manifest of a folder as a build opens it, without writing anything.

    Raises:
        UsageError: the folder cannot be read, or is of another input or of other options.
    """
    with _usable(folder):
        return open_manifest(folder, segment)


@contextmanager
def hold_folder(folder: OutputFolder, force: bool = False) -> Iterator[FolderLock]:
    """Lock a folder and remove what dead runs left; in the end remove what this run staged.

    Raises:
        UsageError: it cannot be written to, or another run holds it.
    """
    with folder.lock(force) as lock:
        try:
            folder.clean_staging()
            yield lock
        finally:
            folder.close()


def _lock_folders(
    stack: ExitStack, spec: BuildSpec, folder: OutputFolder
) -> tuple[FolderLock, ...]:
    if not spec.lock:
        return ()
    folders = (folder, *spec.more_folders)
    return tuple(stack.enter_context(hold_folder(each, spec.force)) for each in folders)


def _failure(folder: OutputFolder, error: OSError) -> str:
    """Say what ended a build: trouble with its output folder, unless another file is named."""
    name = error.filename
    if isinstance(name, str) and not name.startswith((folder.path, folder.staging.root)):
        return f"cannot use {name}: {(error.strerror or str(error)).lower()}"
    return cannot_write(error)


@contextmanager
def _usable(folder: OutputFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot use the output folder {folder.path}: {words}") from None
