"""A run from its options to its report: plan, distribute, tally, tell.

Wires what lives in the parent process.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from img2ds.config.options import Options
from img2ds.core.failure import UsageError
from img2ds.core.naming import OUTPUT_FORMATS, shard_name, stats_name
from img2ds.downloader import img2dataset_compat
from img2ds.downloader.planner import Input, Plan, open_input
from img2ds.downloader.process import check_descriptors
from img2ds.downloader.worker import ShardWorker
from img2ds.engine.cores import usable_cores
from img2ds.engine.distributors.factory import open_distributor
from img2ds.engine.manifest import Manifest, open_manifest
from img2ds.engine.runner import Runner, RunReport, cpu_time, describe_end
from img2ds.engine.stop import StopSwitch
from img2ds.formats.table import check_format
from img2ds.net.fetcher import check_proxy, open_fetcher
from img2ds.report.console import Console, counted
from img2ds.report.summary import hints, speed, table
from img2ds.report.tally import Tally
from img2ds.report.wandb import Board, load_wandb
from img2ds.storage import OutputFolder


@dataclass(slots=True)
class Report(RunReport):
    """What a run did; `tally` has the statuses of its rows."""

    tally: Tally = field(default_factory=Tally)


def check(options: Options) -> None:
    """What workers could only fail at is said here, once. Raises UsageError."""
    check_descriptors(options)
    open_fetcher(options.network)
    check_proxy(options.network)
    check_format(options.output.output_format)
    if options.run.enable_wandb:
        load_wandb()


def run(options: Options, origin: Mapping[str, Any] | None = None) -> Report:
    """Make the data set. Blocks until it is done or stopped.

    Args:
        origin: what else than its files tells this input from others, for the manifest.

    Raises:
        UsageError: something about the input, the options or the output folder cannot work;
            nothing was downloaded.
    """
    started, cpu = time.monotonic(), cpu_time()
    check(options)
    source = open_input(options.input)
    source.check_rows()
    wanted = options.run
    distributor = open_distributor(wanted.distributor, wanted.processes_count, wanted.subjob_size)
    folder = OutputFolder.open(
        options.output.output_folder, options.output.tmp_dir, distributor.spans_machines
    )
    _check_apart(source, folder)
    console = Console(sys.stderr)
    if options.run.dry_run:
        committed = len(_open_manifest(options, source, folder, origin).committed_here())
        console.note(_description(source, options, committed))
        return Report(folder.path, shards_before=committed)
    with ExitStack() as stack:
        lock = stack.enter_context(folder.lock(options.output.force))
        stack.callback(folder.close)
        folder.clean_staging()
        manifest = _open_manifest(options, source, folder, origin)
        try:
            stack.enter_context(distributor)
            manifest.begin()
        except OSError as error:
            raise _unusable(folder, error) from None
        board = None
        if options.run.enable_wandb:
            board = stack.enter_context(Board(options, console.note))
        stop = stack.enter_context(StopSwitch(options.run.max_runtime))
        stack.callback(console.close)
        report = Report(folder.path, shards_before=len(manifest.committed_here()))
        plan = Plan(
            source,
            options.output.number_sample_per_shard,
            manifest.segment.first_shard,
            manifest.committed_here(),
            # Of standard input alone nothing is known before it is read.
            partial(img2dataset_compat.compare, options, folder) if source.is_stdin else None,
        )
        if manifest.adopted:
            shards = counted(len(manifest.committed), "shard")
            console.note(f"going on with {shards} made by img2dataset")

        def expect() -> None:
            """Tell the console how much there is to do, as far as it is known by now."""
            count = plan.shard_count
            shards = None if count is None else count - report.shards_before
            console.expect(plan.expected_rows(), shards)

        runner = Runner(
            report,
            ShardWorker(options, folder),
            stop,
            lock,
            console,
            lambda number: shard_name(number, options.output.oom_shard_count),
            expect,
            is_visible=_is_visible(folder, options) if distributor.spans_machines else None,
            isolated=ShardWorker(options, folder, overlap=False),
            committed=partial(board.shard, total=report.tally) if board is not None else None,
        )
        runner.run(distributor, plan.tasks(), options.run.max_shard_retry)
        if not plan.shard_count and report.stopped is None:
            raise UsageError("standard input has no rows: nothing to download")
        if plan.shard_count is not None:
            try:
                manifest.set_shard_count(plan.shard_count)
            except OSError as error:
                report.stopped = report.stopped or str(_unusable(folder, error))
    report.wall_time = time.monotonic() - started
    report.cpu_time += cpu_time() - cpu
    return report


def _is_visible(folder: OutputFolder, options: Options) -> Callable[[int], bool]:
    digits = options.output.oom_shard_count
    return lambda number: folder.is_visible(stats_name(number, digits))


def _open_manifest(
    options: Options,
    source: Input,
    folder: OutputFolder,
    origin: Mapping[str, Any] | None = None,
) -> Manifest:
    try:
        manifest = open_manifest(
            folder,
            options.output.incremental_mode,
            {**source.fingerprint(), **(origin or {})},
            options.shard_identity(),
            source.shard_count(options.output.number_sample_per_shard),
            lambda there, committed: img2dataset_compat.difference(
                source, options, there, committed
            ),
        )
    except OSError as error:
        raise _unusable(folder, error) from None
    if OUTPUT_FORMATS[options.output.output_format].suffix == "":
        for name in manifest.unrecognized:
            # Publishing a folder takes the place of what is there.
            if name == shard_name(int(name), options.output.oom_shard_count):
                raise UsageError(
                    f"{folder.path} holds {name}, which is called like a shard and holds what is "
                    "no shard's: move it away, or choose another --output_folder"
                )
    return manifest


def _unusable(folder: OutputFolder, error: OSError) -> UsageError:
    words = error.strerror or str(error)
    return UsageError(f"cannot use the output folder {folder.path}: {words.lower()}")


def _check_apart(source: Input, folder: OutputFolder) -> None:
    """Whether no file of the input lies where shards would replace it."""
    for file in source.files:
        if file.path.rpartition("/")[0] == folder.path:
            raise UsageError(
                f"{file.path} lies in the output folder, whose files are replaced: "
                "choose another --output_folder"
            )


def _description(source: Input, options: Options, committed: int) -> str:
    """What a run would do, for --dry_run."""
    processes = options.run.processes_count or (
        usable_cores()
        if options.run.distributor == "multiprocessing"
        else f"the cores of the {options.run.distributor} cluster"
    )
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


def describe(report: Report) -> str:
    """What people read at the end of a run."""
    parts = []
    if report.tally.count:
        parts += [table(report.tally), ""]
        parts.append(speed(report.tally, report.wall_time, report.cpu_time))
    parts += [f"hint: {line}" for line in hints(report.tally)]
    return "\n".join([*parts, *describe_end(report)])
