"""A worker: makes a stream of shards in one process, in one trio run.

Shards overlap: the next one's rows are loaded while the last slow downloads of this one finish, so
that slots are never idle at the end of a shard. Every row has a time limit, so every shard ends;
none waits for another to be committed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import trio

from img2ds.config.options import Options
from img2ds.congestion.controller import Controller
from img2ds.congestion.dns_names import DnsNames
from img2ds.congestion.host_table import HostTable
from img2ds.congestion.machine import Machine
from img2ds.congestion.path import NetworkPath
from img2ds.core.failure import UsageError
from img2ds.core.sample import ShardTask
from img2ds.downloader.dataset_sink import DatasetSink
from img2ds.downloader.pipeline import Pipeline
from img2ds.downloader.process import prepare_process
from img2ds.downloader.shard import Shard
from img2ds.engine.shard_output import ShardOutput
from img2ds.net.fetcher import open_fetcher, open_resolver
from img2ds.net.probe import probe
from img2ds.net.request import accepting
from img2ds.report.shard_report import Progress, ShardReport
from img2ds.report.tally import Tally
from img2ds.report.units import duration
from img2ds.source import RangeReader, read_rows
from img2ds.storage import OutputFolder

#: Seconds between two progress reports.
PROGRESS_INTERVAL = 0.5
#: Rows that open shards may hold together: a minute's downloads on one core, so that a URL that
#: takes all of its time delays only its own shard.
OPEN_ROWS = 20_000
#: Open shards at least and at most; each holds a file and a write buffer.
MIN_OPEN, MAX_OPEN = 4, 64

#: From a task to its shard, or to the report of one that is committed already. Blocks. OSError,
#: UsageError and ArrowException are reported as the shard's error.
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

    Attributes:
        overlap: false for shards that were lost before: an image that kills its worker, or takes
            all memory, must not take another shard with it.
        opener: called in the process. A caller's own may send images elsewhere than into a dataset.
        token: of the files that the workers of a machine share; None for a worker alone.
    """

    options: Options
    folder: OutputFolder
    overlap: bool = True
    opener: Callable[[Options, OutputFolder], Opener] = ShardOpener
    token: str | None = None

    def __call__(self, tasks: Iterator[ShardTask], emit: Callable[[Any], None]) -> None:
        self.folder.clean_dead_workers()
        prepare_process()
        opener = self.opener(self.options, self.folder)
        machine = Machine(self.token)
        try:
            trio.run(_Run(self.options, opener, tasks, emit, self.overlap, machine).main)
        finally:
            machine.close()


class _Run:
    """One trio run: loads shards, runs the pipeline, commits shards as they end."""

    def __init__(
        self,
        options: Options,
        opener: Opener,
        tasks: Iterator[Any],
        emit: Callable[[Any], None],
        overlap: bool,
        machine: Machine,
    ) -> None:
        self._machine = machine
        self._shards: dict[int, Shard] = {}
        self._options = options
        self._opener = opener
        self._tasks = tasks
        self._emit = emit
        rows = options.output.number_sample_per_shard
        most = min(max(MIN_OPEN, math.ceil(OPEN_ROWS / rows)), MAX_OPEN)
        self._open = trio.Semaphore(most if overlap else 1)
        self._commits = trio.CapacityLimiter(2)

    async def main(self) -> None:
        network = accepting(self._options.network, self._options.image.image_formats)
        path = NetworkPath(self._machine)
        names = DnsNames(self._machine.token)
        resolver = open_resolver(network, self._machine, names)
        fetcher = open_fetcher(network, resolver, path)
        controller = Controller(path, network.thread_count, partial(probe, path, resolver))
        table = HostTable(self._machine.token, self._machine.index)
        self._machine.when_dead.append(table.clear_worker)
        try:
            async with trio.open_nursery() as progress:
                progress.start_soon(controller.run)
                async with trio.open_nursery() as nursery:
                    pipeline = Pipeline(
                        self._options,
                        fetcher,
                        finished=lambda shard: nursery.start_soon(self._commit, shard, controller),
                        controller=controller,
                        table=table,
                    )
                    progress.start_soon(self._report, pipeline, controller, progress.cancel_scope)
                    nursery.start_soon(self._load, pipeline)
                    await pipeline.run()
                progress.cancel_scope.cancel()
            self._emit(Progress(pipeline.take_progress()))
            if self._shards:
                self._give_up(controller)
        finally:
            resolver.close()
            names.close()
            await fetcher.aclose()

    def _give_up(self, controller: Controller) -> None:
        """Report the open shards as failed: the outage lasts too long."""
        why = f"{controller.outage.words} for {duration(controller.outage_seconds)}"
        for shard in self._shards.values():
            shard.error = OSError(why)
            self._emit(replace(shard.commit(), error=f"{why} (--max_outage)", fatal=True))

    async def _load(self, pipeline: Pipeline) -> None:
        """Keep the scheduler supplied, one shard ahead."""
        while True:
            await pipeline.scheduler.wait_below(max(self._options.network.thread_count // 4, 1))
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
                message = f"cannot start the shard: {error}"
                self._emit(ShardReport(task.shard_id, Tally(), 0.0, message))
                continue
            self._shards[shard.id] = shard
            pipeline.scheduler.add(shard)
        pipeline.scheduler.close()

    async def _commit(self, shard: Shard, controller: Controller) -> None:
        shard.tally.network = controller.figures
        report = await trio.to_thread.run_sync(shard.commit, limiter=self._commits)
        del self._shards[shard.id]
        self._open.release()
        self._emit(report)

    async def _report(
        self, pipeline: Pipeline, controller: Controller, run: trio.CancelScope
    ) -> None:
        """Report progress; end the run when an outage has lasted too long."""
        while True:
            await trio.sleep(PROGRESS_INTERVAL)
            condition = controller.condition if controller.leads else None
            self._emit(Progress(pipeline.take_progress(), condition))
            if controller.outage_seconds > self._options.network.max_outage:
                run.cancel()
