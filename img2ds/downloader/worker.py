"""A worker: makes a stream of shards in one process, in one trio run.

Shards overlap: the next one's rows are loaded while the last slow downloads of this one finish, so
that slots are never idle at the end of a shard. Every row has a time limit, so every shard ends.

What a shard has is saved as a partial shard (see `engine.partial`) when the run has to end soon, or
when its last rows wait while no further shard may be opened.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import trio

from img2ds.blocklist.blocks import Blocks, block_lists
from img2ds.config.options import Options
from img2ds.congestion.controller import Controller
from img2ds.congestion.dns_names import DnsNames
from img2ds.congestion.host_table import HostTable
from img2ds.congestion.machine import Machine
from img2ds.congestion.path import NetworkPath
from img2ds.congestion.silence_table import SilenceTable
from img2ds.core.failure import UsageError
from img2ds.downloader.blocked_rows import BlockedRows, Opener
from img2ds.downloader.open_shards import OpenShards
from img2ds.downloader.pipeline import Pipeline
from img2ds.downloader.process import prepare_process
from img2ds.downloader.renderer import Renderer
from img2ds.downloader.shard import Shard
from img2ds.downloader.shard_worker import Pass
from img2ds.downloader.stand_in import StandIn
from img2ds.engine.distributors.contract import TaskStream, is_stopping
from img2ds.net.fetcher import open_fetcher, open_resolver
from img2ds.net.probe import probe, send_canary
from img2ds.net.request import accepting
from img2ds.report.shard_report import Progress, ShardReport
from img2ds.report.tally import Tally
from img2ds.report.units import duration

#: Seconds between two progress reports.
PROGRESS_INTERVAL = 0.5
#: Rows that open shards may hold together: a minute's downloads on one core, so that a URL that
#: takes all of its time delays only its own shard.
OPEN_ROWS = 20_000
#: Open shards at least and at most; each holds a file and a write buffer.
MIN_OPEN, MAX_OPEN = 4, 64
#: Seconds that the next shard waits for an open one to end, before those that wait are saved.
LATE_AFTER = 10.0


def run_worker(
    options: Options,
    opener: Opener,
    tasks: Iterator[Any],
    emit: Callable[[Any], None],
    makes: Pass,
    token: str | None,
) -> None:
    """Make the shards of `tasks` in this process. Blocks until they are done."""
    prepare_process()
    machine = Machine(token)
    try:
        trio.run(_Run(options, opener, tasks, emit, makes, machine).main)
    finally:
        machine.close()


def _most_open(options: Options, makes: Pass) -> int:
    """Return how many shards may be open at once."""
    if makes is Pass.ISOLATED:
        return 1
    if makes is Pass.LAST:
        return MAX_OPEN
    rows = options.output.number_sample_per_shard
    return min(max(MIN_OPEN, math.ceil(OPEN_ROWS / rows)), MAX_OPEN)


class _Run:
    """One trio run: loads shards, runs the pipeline, commits shards as they end."""

    def __init__(
        self,
        options: Options,
        opener: Opener,
        tasks: Iterator[Any],
        emit: Callable[[Any], None],
        makes: Pass,
        machine: Machine,
    ) -> None:
        self._machine = machine
        self._open_shards = OpenShards(emit)
        self._shards = self._open_shards.shards
        self._options = options
        self._blocks = Blocks(block_lists(options.network))
        self._opener = BlockedRows(opener, self._blocks) if self._blocks else opener
        self._tasks = tasks
        self._emit = emit
        self._makes = makes
        self._open = trio.Semaphore(_most_open(options, makes))
        self._commits = trio.CapacityLimiter(2)
        self._rows = trio.CancelScope()  # of the rows in flight

    async def main(self) -> None:
        network = accepting(self._options.network, self._options.image.image_formats)
        path = NetworkPath(self._machine)
        names = DnsNames(self._machine.token)
        resolver = open_resolver(network, self._machine, names)
        judge = self._blocks.judge if self._blocks.has_urls else None
        fetcher = open_fetcher(network, resolver, path, judge, self._machine.token)
        controller = Controller(
            path, network.thread_count, partial(probe, path, resolver), partial(send_canary, path)
        )
        table = HostTable(self._machine.token, self._machine.index)
        silences = SilenceTable(self._machine.token)
        self._machine.when_dead.append(table.clear_worker)
        renderer = Renderer(self._options.image, isolated=self._makes is Pass.ISOLATED)
        stand_in = self._start_stand_in(renderer)
        try:
            async with trio.open_nursery() as progress:
                progress.start_soon(controller.run)
                async with trio.open_nursery() as nursery:
                    pipeline = Pipeline(
                        self._options,
                        fetcher,
                        finished=lambda shard: nursery.start_soon(self._commit, shard, controller),
                        controller=controller,
                        renderer=renderer,
                        table=table,
                        silences=silences,
                        blocks=self._blocks,
                    )
                    progress.start_soon(self._beat, renderer)
                    progress.start_soon(self._report, pipeline, controller, progress.cancel_scope)
                    nursery.start_soon(self._load, pipeline, controller, nursery)
                    with self._rows:
                        await pipeline.run()
                # The run stops: nothing else leaves shards behind.
                async with trio.open_nursery() as nursery:
                    for shard in self._shards.values():
                        nursery.start_soon(self._save_partial, shard)
                progress.cancel_scope.cancel()
            self._emit(Progress(pipeline.take_progress()))
            if self._shards:
                self._give_up(controller)
        finally:
            stand_in.close()
            renderer.close()
            resolver.close()
            names.close()
            silences.close()
            await fetcher.aclose()

    def _start_stand_in(self, renderer: Renderer) -> StandIn:
        tasks, shards = self._tasks, self._open_shards

        def stopping() -> bool:
            if shards.can_be_saved:
                renderer.stop_watching()
            return shards.can_be_saved

        leave = getattr(tasks, "leave", None) or (lambda: None)
        grace = self._options.run.grace_seconds
        save = partial(shards.save_all, tasks)
        stand_in = StandIn(renderer.lent, grace, stopping, save, leave)
        if isinstance(tasks, TaskStream) and tasks.leave is not None:
            stand_in.watch(tasks.stop_event)
        return stand_in

    def _give_up(self, controller: Controller) -> None:
        """Report the open shards as failed: the outage lasts too long."""
        why = f"{controller.outage.words} for {duration(controller.outage_seconds)}"
        for shard in self._shards.values():
            if shard.can_save_partial:
                report = shard.save_partial()
            else:
                shard.error = OSError(why)
                report = shard.commit()
            why_not = f"{why} (--max_outage)"
            self._emit(replace(report, error=why_not, fatal=True, later=None))

    async def _load(
        self, pipeline: Pipeline, controller: Controller, nursery: trio.Nursery
    ) -> None:
        """Keep the scheduler supplied, one shard ahead."""
        shards = self._open_shards
        while True:
            await pipeline.scheduler.wait_below(max(self._options.network.thread_count // 4, 1))
            while not self._stopping:
                with trio.move_on_after(LATE_AFTER):
                    await self._open.acquire()
                    break
                if self._makes is Pass.FIRST:
                    self._save_late(pipeline, nursery)
            task = await trio.to_thread.run_sync(shards.pull, self._tasks, abandon_on_cancel=True)
            if task is None:
                break
            if self._stopping:
                shards.put_off(task)
                continue
            try:
                shard = await trio.to_thread.run_sync(self._opener, task)
                if isinstance(shard, ShardReport):
                    self._open.release()
                    shards.report(shard)
                    continue
            except (OSError, pa.ArrowException, UsageError) as error:
                self._open.release()
                message = f"cannot start the shard: {error}"
                shards.report(ShardReport(task.shard_id, Tally(), 0.0, message))
                continue
            if pipeline.scheduler.stopped:
                shard.abandon()
                shards.put_off(task)
                continue
            shards.add(shard)
            if shard.tally.count and self._makes is not Pass.LAST:
                before = Tally()
                before.merge(shard.tally)
                self._emit(Progress(before, resumed=True))
            if shard.left:
                pipeline.scheduler.add(shard)
            else:
                nursery.start_soon(self._commit, shard, controller)
        pipeline.scheduler.close()

    @property
    def _stopping(self) -> bool:
        return is_stopping(self._tasks)

    def _stop(self, pipeline: Pipeline) -> None:
        """Start no further row, and give those in flight a grace time."""
        if not self._open_shards.can_be_saved:
            return  # they are made to their end
        self._rows.deadline = trio.current_time() + self._options.run.grace_seconds
        pipeline.scheduler.stop()
        self._open.release()  # wakes the loader

    def _save_late(self, pipeline: Pipeline, nursery: trio.Nursery) -> None:
        """Save the open shards whose rows all wait as partial ones."""
        for shard in self._shards.values():
            if shard.can_save_partial and shard.left and pipeline.scheduler.withdraw(shard):
                nursery.start_soon(self._save_partial, shard)

    async def _save_partial(self, shard: Shard) -> None:
        await self._end(shard, shard.save_partial)

    async def _commit(self, shard: Shard, controller: Controller) -> None:
        shard.tally.network = controller.figures
        await self._end(shard, shard.commit)

    async def _end(self, shard: Shard, save: Callable[[], ShardReport[Any]]) -> None:
        end = self._open_shards.end
        await trio.to_thread.run_sync(end, shard, save, limiter=self._commits)
        self._open_shards.remove(shard)
        self._open.release()

    async def _beat(self, renderer: Renderer) -> None:
        while True:
            renderer.beat()
            await trio.sleep(PROGRESS_INTERVAL)

    async def _report(
        self, pipeline: Pipeline, controller: Controller, run: trio.CancelScope
    ) -> None:
        """Report progress; end the run when it is to stop, or an outage has lasted too long."""
        while True:
            await trio.sleep(PROGRESS_INTERVAL)
            if self._stopping and not pipeline.scheduler.stopped:
                self._stop(pipeline)
            condition = controller.condition if controller.leads else None
            self._emit(Progress(pipeline.take_progress(), condition))
            if controller.outage_seconds > self._options.network.max_outage:
                run.cancel()
