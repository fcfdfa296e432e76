"""A download from its options to its report: input, build, workers, counts.

What runs in the parent process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from img2ds.blocklist.blocks import CompiledLists, block_lists
from img2ds.config.image import FIRST_IMAGE_FORMATS
from img2ds.config.options import Options, RankOptions
from img2ds.config.ranks import slurm_note
from img2ds.congestion.shared_file import run_files
from img2ds.core.failure import UsageError
from img2ds.core.naming import format_names
from img2ds.core.rank import Rank
from img2ds.core.state import is_state
from img2ds.downloader import img2dataset_compat, report_file
from img2ds.downloader.name_server import check_resolver, running_resolver
from img2ds.downloader.plan_words import describe_plan
from img2ds.downloader.planner import Input, Plan, open_input
from img2ds.downloader.process import check_descriptors
from img2ds.downloader.retried_rows import RetriedRows, find_retried_rows, list_name
from img2ds.downloader.shard_opener import ShardOpener
from img2ds.downloader.shard_worker import Pass, ShardWorker
from img2ds.engine.build import Build, BuildSpec, open_build, read_manifest
from img2ds.engine.distributors.factory import check_distributor
from img2ds.engine.manifest import SegmentSpec, read_segments
from img2ds.engine.partial import remove_partials
from img2ds.engine.run_report import RunReport, describe_end
from img2ds.engine.tar_sizes import write_tar_sizes
from img2ds.formats.table import check_format, finish_folder
from img2ds.net.check import check_fetcher, check_proxy
from img2ds.report.console import Labels, Verbosity
from img2ds.report.metrics import serve_metrics
from img2ds.report.summary import hints, speed, table
from img2ds.report.tally import Tally
from img2ds.report.units import counted, duration, share
from img2ds.report.wandb import Board, load_wandb
from img2ds.storage import OutputFolder
from img2ds.storage.filesystem import as_usage_error


@dataclass(slots=True)
class Report(RunReport):
    """What a run did; `tally` has the statuses of its rows.

    Attributes:
        quiet: whether people read nothing of it unless something is missing.
    """

    tally: Tally = field(default_factory=Tally)
    quiet: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON types, as `--report` writes it. Times in seconds."""
        return report_file.document(self)

    def __str__(self) -> str:
        """What the command line prints at the end of a run."""
        return describe(self)

    def __repr__(self) -> str:
        shown = ("output_folder", "exit_code", "stopped", "count", "successes", "reasons")
        found = self.to_dict()
        return f"Report({', '.join(f'{name}={found[name]!r}' for name in shown)})"


def check(options: Options) -> None:
    """Raise UsageError for what workers could only fail at."""
    check_descriptors(options)
    check_fetcher(options.network)
    check_proxy(options.network)
    check_resolver(options)
    CompiledLists.of(block_lists(options.network))
    check_format(options.output.output_format)
    check_distributor(options.run.distributor)
    report_file.check(options.run.report)
    if options.run.enable_wandb:
        load_wandb()


def run(
    options: Options,
    provenance: Mapping[str, Any] | None = None,
    source: Input | None = None,
) -> Report:
    """Make the dataset. Blocks until it is done or stopped.

    Args:
        provenance: what besides its files identifies the input, for the manifest.
        source: the input, if not the one that the options name.

    Raises:
        UsageError: something about the input, the options or the output folder cannot work;
            nothing was downloaded.
    """
    grace = duration(options.run.grace_seconds)
    stop = f"rows in flight have {grace} to end, then partial shards are saved"
    report = Report(labels=Labels(stop=stop), quiet=options.run.quiet)
    check(options)
    source = source or open_input(options.input)
    source.check_rows()
    folder = OutputFolder.open(options.output.output_folder)
    options = _as_begun(options, folder)
    spec = _spec(options, source, provenance or {})
    _check_apart(source, folder)
    if options.run.dry_run:
        assert spec.segment is not None
        folder = replace(folder, rank=spec.rank)
        report.output_folder = folder.path
        report.shards_before = len(read_manifest(folder, spec.segment).committed_here())
        counted_now = source.count(options.output.number_sample_per_shard)
        plan = describe_plan(source, options, spec.rank, report.shards_before, counted_now)
        print(f"{plan}; nothing was done", file=sys.stderr)
        return report
    with open_build(spec, report) as build, running_resolver(options) as options:
        size = source.known_count(options.output.number_sample_per_shard)
        plan = describe_plan(source, options, spec.rank, len(build.committed), size)
        build.console.note(plan, dated=True)
        if lists := block_lists(options.network):
            build.console.note(f"not downloading {CompiledLists.of(lists)} of block lists")
        with serve_metrics(build.console.state, options.run.metrics_port) as url:
            if url is not None:
                build.console.note(f"metrics at {url}")
            if options.run.enable_wandb:
                with Board(options, build.console.note) as board:
                    _download(options, source, build, board)
            else:
                _download(options, source, build)
    report.shortfall = _shortfall(report.tally, options.run.min_success)
    _write_report(options, report)
    return report


def _write_report(options: Options, report: Report) -> None:
    try:
        report_file.write(options.run.report, report)
    except OSError as error:  # the dataset is there all the same
        words = (error.strerror or str(error)).lower()
        report.stopped = report.stopped or f"cannot write {options.run.report}: {words}"


def _shortfall(tally: Tally, least: float) -> str | None:
    """Say so when fewer rows succeeded than the user can use. A run that had no rows is fine."""
    if tally.count and not tally.successes:
        return "no row succeeded"
    if tally.successes < least * tally.count:
        return f"{share(tally.successes, tally.count)} succeeded, below --min_success {least:g}"
    return None


def _as_begun(options: Options, folder: OutputFolder) -> Options:
    """Return the options with the default of the version that began the folder."""
    if options.output.incremental_mode == "overwrite":
        return options
    with as_usage_error(f"use the folder {folder.path}"):
        segments = read_segments(folder)
    if not segments:
        return options
    recorded = segments[-1].options.get("image_formats")
    return replace(options, image=options.image.as_begun(recorded))


def _spec(options: Options, source: Input, provenance: Mapping[str, Any]) -> BuildSpec:
    wanted, output = options.run, options.output
    folders = format_names(output.output_format).suffix == ""
    return BuildSpec(
        output_folder=output.output_folder,
        segment=SegmentSpec(
            fingerprint={**source.fingerprint(), **provenance},
            options=options.shard_identity(),
            shard_count=source.shard_count(output.number_sample_per_shard),
            mode=output.incremental_mode,
            folder_digits=output.oom_shard_count if folders else None,
            foreign=partial(img2dataset_compat.difference, source, options),
        ),
        tmp_dir=output.tmp_dir,
        force=output.force,
        digits=output.oom_shard_count,
        distributor=wanted.distributor,
        processes_count=wanted.processes_count,
        subjob_size=wanted.subjob_size,
        retries=wanted.max_shard_retry,
        max_runtime=wanted.max_runtime,
        rank=_rank(options),
        verbosity=Verbosity(quiet=wanted.quiet),
    )


def _rank(options: Options) -> Rank:
    """Return which of the runs on the folder this is.

    Raises:
        UsageError: the numbers are wrong, or other options do not go with ranks.
    """
    rank = options.ranks.resolve(os.environ)
    if rank.alone:
        if options.ranks == RankOptions() and (note := slurm_note(os.environ)):
            print(note, file=sys.stderr)
        return rank
    if options.run.distributor != "multiprocessing":
        raise UsageError(
            f"--rank and --distributor {options.run.distributor} exclude each other: the "
            "distributor uses all machines of its cluster already"
        )
    if options.output.incremental_mode == "overwrite":
        raise UsageError(
            "--rank and --incremental_mode overwrite exclude each other: "
            "remove the folder before the ranks start"
        )
    if options.output.sizes_json:
        raise UsageError(
            "--rank and --sizes_json exclude each other: when all ranks are done, run "
            f"img2ds status --output_folder {options.output.output_folder} --sizes_json"
        )
    return rank


def _download(
    options: Options, source: Input, build: Build[Report], board: Board | None = None
) -> None:
    """Make the missing shards, and record how many a streamed input had."""
    report = build.report
    if build.from_img2dataset:
        shards = counted(len(build.committed), "shard")
        build.console.note(f"resuming after {shards} made by img2dataset")
    if options.image.image_formats is FIRST_IMAGE_FORMATS:
        build.console.note(
            f"keeping {', '.join(FIRST_IMAGE_FORMATS)} only, as when this folder was begun"
        )
    plan = Plan(
        source,
        options.output.number_sample_per_shard,
        build.first_shard,
        build.committed,
        build.folder.rank,
        # Nothing is known of standard input before it is read.
        partial(img2dataset_compat.compare, options, build.folder) if source.is_stdin else None,
    )

    retried = _retried_rows(options, build)

    def expect() -> tuple[int | None, int | None]:
        count = plan.own_shards
        return plan.expected_rows(), None if count is None else count - report.shards_before

    def worker(makes: Pass, token: str) -> ShardWorker:
        opener = partial(ShardOpener, retried=retried)
        return ShardWorker(options, build.folder, makes, opener, token)

    with run_files() as token:
        build.run(
            worker(Pass.FIRST, token),
            plan.tasks(),
            expect=expect,
            isolated=worker(Pass.ISOLATED, token),
            last=worker(Pass.LAST, token),
            on_commit=None if board is None else partial(board.shard, total=report.tally),
        )
    remove_partials(build.folder, keep=lambda shard: True)  # and their folder if there are none
    if not plan.shard_count and report.stopped is None:
        raise UsageError("standard input has no rows: nothing to download")
    if plan.shard_count is not None:
        build.set_shard_count(plan.shard_count)
    if not build.lost:
        finish_folder(build.folder, options.output.output_format)
        if options.output.sizes_json:
            write_tar_sizes(build.folder)


def _retried_rows(options: Options, build: Build[Report]) -> RetriedRows:
    """Return the rows of shards to make that a retry has. Raises UsageError, OSError."""
    if all(list_name(segment) is None for segment in build.segments):
        return {}
    here = next(s for s in build.segments if s.first_shard == build.first_shard)
    return find_retried_rows(
        build.folder,
        build.segments,
        build.all_committed,
        here.numbers(max(build.all_committed, default=-1)),
        options.output.number_sample_per_shard,
    )


def _check_apart(source: Input, folder: OutputFolder) -> None:
    """Raise UsageError when a file of the input lies where shards would replace it."""
    for file in source.files:
        place, _, name = file.path.rpartition("/")
        if place == folder.path and not is_state(name):
            raise UsageError(
                f"{file.path} is in the output folder, whose files are replaced: "
                "choose another --output_folder"
            )


def describe(report: Report) -> str:
    """Return what people read at the end of a run; of a quiet one only what is wrong."""
    if report.quiet:
        return "\n".join(describe_end(report)) if report.exit_code else ""
    parts = []
    if report.tally.count:
        parts += [table(report.tally), ""]
        parts.append(speed(report.tally, report.wall_time, report.cpu_time, report.resumed))
    parts += report.conditions.lines()
    parts += [f"hint: {line}" for line in hints(report.tally)]
    return "\n".join([*parts, *describe_end(report)])
