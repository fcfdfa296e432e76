"""A stream of shards in one process: owns the trio run, and wires what lives in it.

Shards overlap: the next one's rows are loaded while the last slow downloads of this one run
out, so that slots are never idle at a shard's end. Every row has a time limit, so every shard
ends; none waits for another to be committed.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import trio

from img2ds.config.options import Options
from img2ds.core.failure import UsageError
from img2ds.core.sample import ShardTask
from img2ds.downloader.dataset_sink import DatasetSink
from img2ds.downloader.pipeline import Pipeline
from img2ds.downloader.shard import Shard
from img2ds.downloader.slots import most_beside
from img2ds.engine.shard_output import ShardOutput
from img2ds.net.fetcher import open_fetcher
from img2ds.report.shard_report import Progress, ShardReport
from img2ds.report.tally import Tally
from img2ds.source import RangeReader, read_rows
from img2ds.storage import OutputFolder

#: Seconds between two words of progress.
PROGRESS_INTERVAL = 0.5
#: Rows that open shards may hold together: a minute's downloads on one core, so that a URL that
#: takes all of its time keeps its own shard waiting and no other.
OPEN_ROWS = 20_000
#: Open shards at least and at most; each holds a file and a write buffer.
MIN_OPEN, MAX_OPEN = 4, 64
#: New objects between two looks for cycles, of which there are next to none: with Python's 700 they
#: take 1.4 % of the CPU of 3000 images, with this 0.8 %.
GC_OBJECTS = 3_000
#: glibc's M_ARENA_MAX, M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, the last two in bytes.
_MALLOC = {-8: 1, -3: 8 << 20, -1: 16 << 20}
#: File descriptors beside one a slot, one a row beside them, one an idle connection and one a DNS
#: question.
SPARE_DESCRIPTORS = 200


#: From a task to its shard, or to the report of one that is committed. Blocks; what it raises as
#: OSError, UsageError or ArrowException is told as the shard's fault.
Opener = Callable[[Any], Shard | ShardReport[Any]]


class ShardOpener:
    """Opens the shards of a dataset: reads the rows of their tasks."""

    def __init__(self, options: Options, folder: OutputFolder) -> None:
        self._options = options
        self._folder = folder
        self._reader = RangeReader()

    def __call__(self, task: ShardTask) -> Shard | ShardReport[Any]:
        """Return the shard to make, or the report of one that is committed already."""
        output = ShardOutput(self._folder, task.shard_id, self._options.output.oom_shard_count)
        report = output.committed_report()
        if report is not None:
            return report
        table = read_rows(task, self._options.input.columns, self._reader)
        return Shard(task, table, self._options, DatasetSink(output, self._options))


@dataclass(frozen=True, slots=True)
class ShardWorker:
    """Makes shards: the callable that distributors run, once in each process.

    `overlap` is false for shards that were lost before: a picture that kills its worker, or takes
    all memory, must take no other shard with it.

    `opener` is called in the process; with one of its own a caller has pictures go elsewhere than
    into a data set.
    """

    options: Options
    folder: OutputFolder
    overlap: bool = True
    opener: Callable[[Options, OutputFolder], Opener] = ShardOpener

    def __call__(self, tasks: Iterator[ShardTask], emit: Callable[[Any], None]) -> None:
        raise_descriptor_limit()
        self.folder.clean_dead_workers()
        silence_native_code()
        tame_malloc()
        gc.freeze()  # modules live as long as the process
        gc.set_threshold(GC_OBJECTS)
        opener = self.opener(self.options, self.folder)
        trio.run(_Run(self.options, opener, tasks, emit, self.overlap).main)


class _Run:
    def __init__(
        self,
        options: Options,
        opener: Opener,
        tasks: Iterator[Any],
        emit: Callable[[Any], None],
        overlap: bool,
    ) -> None:
        self._options = options
        self._opener = opener
        self._tasks = tasks
        self._emit = emit
        rows = options.output.number_sample_per_shard
        most = min(max(MIN_OPEN, math.ceil(OPEN_ROWS / rows)), MAX_OPEN)
        self._open = trio.Semaphore(most if overlap else 1)
        self._commits = trio.CapacityLimiter(2)

    async def main(self) -> None:
        fetcher = open_fetcher(self._options.network)
        try:
            async with trio.open_nursery() as progress:
                async with trio.open_nursery() as nursery:
                    pipeline = Pipeline(
                        self._options,
                        fetcher,
                        finished=lambda shard: nursery.start_soon(self._commit, shard),
                    )
                    progress.start_soon(self._report, pipeline)
                    nursery.start_soon(self._load, pipeline)
                    await pipeline.run()
                progress.cancel_scope.cancel()
            self._emit(Progress(pipeline.take_progress()))
        finally:
            await fetcher.aclose()

    async def _load(self, pipeline: Pipeline) -> None:
        """Keep the feed supplied, one shard ahead."""
        while True:
            await pipeline.feed.wait_below(max(self._options.network.thread_count // 4, 1))
            await self._open.acquire()
            task = await trio.to_thread.run_sync(next, self._tasks, None, abandon_on_cancel=True)
            if task is None:
                break
            try:
                shard = await trio.to_thread.run_sync(self._opener, task)
                if isinstance(shard, ShardReport):
                    self._open.release()
                    self._emit(shard)
                    continue
            except (OSError, pa.ArrowException, UsageError) as error:
                self._open.release()
                words = f"cannot begin the shard: {error}"
                self._emit(ShardReport(task.shard_id, Tally(), 0.0, words))
                continue
            pipeline.feed.add(shard)
        pipeline.feed.close()

    async def _commit(self, shard: Shard) -> None:
        report = await trio.to_thread.run_sync(shard.commit, limiter=self._commits)
        self._open.release()
        self._emit(report)

    async def _report(self, pipeline: Pipeline) -> None:
        while True:
            await trio.sleep(PROGRESS_INTERVAL)
            self._emit(Progress(pipeline.take_progress()))


_silenced = False


def silence_native_code() -> None:
    """Keep what codecs write to descriptor 2 themselves (libpng does) off people's screens.

    Python's own stderr goes where it went. Done once a process, not around each picture.
    """
    global _silenced
    if sys.stderr is None or _silenced:  # Spark runs one worker after another in a process
        return
    _silenced = True
    sys.stderr.flush()
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    sys.stderr = os.fdopen(kept, "w", buffering=1, encoding="utf-8", errors="backslashreplace")


def tame_malloc() -> None:
    """Keep glibc's heap small among buffers of all sizes and lives; elsewhere do nothing.

    By default it grows one heap a thread, raises its thresholds to 32 and 64 MB at the first
    large picture, and then keeps that room: 90 MB for 20 in use. This way it stays near 40 MB, at
    the same CPU: pictures of more than 8 MB alone are mapped and given back each time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in _MALLOC.items():
            mallopt(name, value)


def raise_descriptor_limit() -> int:
    """Raise this process' soft limit of open files to its hard one; returns what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 2**31 if hard == resource.RLIM_INFINITY else hard


def check_descriptors(options: Options) -> None:
    """Whether the slots asked for can have their sockets.

    Raises:
        UsageError: they cannot; better said now than as a million failed rows.
    """
    slots = options.network.thread_count
    available = raise_descriptor_limit()
    needed = 2 * slots + most_beside(slots) + SPARE_DESCRIPTORS
    if needed > available:
        fitting = max(1, (available - SPARE_DESCRIPTORS) * 2 // 5)
        raise UsageError(
            f"--thread_count {slots} needs {needed} open files and the limit is {available}: "
            f"lower it to {fitting}, or raise the limit (ulimit -Hn)"
        )
