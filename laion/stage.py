"""What every stage of the pipeline shares: its flags, its parts, and how it is run.

A stage reads files and writes numbered parts. A part counts only when its commit marker,
`NNNNN_stats.json`, is there; it is written last. Running a stage again goes on with what is
missing, by img2ds's manifest, on img2ds's distributors.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

import pyarrow as pa

from img2ds.config.flags import at_least, flag
from img2ds.config.options import DISTRIBUTORS, INCREMENTAL_MODES
from img2ds.core.failure import UsageError
from img2ds.core.naming import shard_name, stats_name
from img2ds.engine.cores import usable_cores
from img2ds.engine.distributors.contract import Task, Worker
from img2ds.engine.distributors.factory import open_distributor
from img2ds.engine.manifest import open_manifest
from img2ds.engine.runner import Runner, RunReport, cpu_time, describe_end
from img2ds.engine.stop import StopSwitch
from img2ds.report.console import Console, Labels, duration
from img2ds.report.counters import Counts
from img2ds.report.summary import drops_table
from img2ds.storage import InputFile, OutputFolder
from laion.part import DIGITS, Part, cannot_write, committed_counts, committed_report
from laion.provenance import ModelNames, write_note


@dataclass(frozen=True, kw_only=True)
class StageOptions:
    """The flags of every stage; a stage adds its own as a subclass.

    `INPUTS` names the flags of a stage that say where its input lies: what is there is told
    by a fingerprint. All other flags of a stage decide what its parts are.
    """

    INPUTS: ClassVar[tuple[str, ...]] = ("input",)

    output_folder: str = flag(MISSING, "str", "where the parts go: a folder or fsspec URL")
    processes_count: int | None = flag(None, "int?", "worker processes (default: one a core)")
    distributor: str = flag("multiprocessing", "choice", "who runs the workers", *DISTRIBUTORS)
    incremental_mode: str = flag(
        "incremental", "choice",
        "incremental goes on with what is missing, overwrite starts anew, extend adds this input",
        *INCREMENTAL_MODES,
    )  # fmt: skip
    max_shard_retry: int = flag(1, "int", "times a part that broke is made again")
    tmp_dir: str | None = flag(
        None, "str?", "local folder for unfinished parts (default: inside a local output folder)"
    )
    force: bool = flag(False, "bool", "take the output folder over from a run that still holds it")

    def __post_init__(self) -> None:
        if not self.output_folder:
            raise UsageError("--output_folder is required: where the parts go")
        at_least("processes_count", self.processes_count, 1)
        at_least("max_shard_retry", self.max_shard_retry, 0)

    def identity(self) -> dict[str, Any]:
        """The options that decide what a part is: a resume with others would mix data sets."""
        ignored = {f.name for f in fields(StageOptions)} | set(self.INPUTS)
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ignored}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @property
    def on_this_machine(self) -> bool:
        """Whether all workers are processes of this machine."""
        return self.distributor == "multiprocessing"

    @property
    def processes(self) -> int:
        """Worker processes: those asked for, else one a core this process may use."""
        return self.processes_count or usable_cores()


@dataclass(frozen=True, slots=True)
class SequentialWorker:
    """A worker that makes one part after the other.

    `make(task, part)` writes the part's files and counts; it is picklable by reference.
    What it raises as OSError, UsageError or ArrowException fails the part, which is made again.
    """

    folder: OutputFolder
    make: Callable[[Any, Part], None]

    def __call__(self, tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
        self.folder.clean_dead_workers()
        for task in tasks:
            if self.folder.exists(stats_name(task.shard_id, DIGITS)):
                # Its worker died between the mark and the report, and it was given again.
                emit(committed_report(self.folder, task.shard_id))
                continue
            part = Part(self.folder, task.shard_id, emit)
            try:
                self.make(task, part)
            except (OSError, UsageError, pa.ArrowException) as error:
                emit(part.broken(error))
            else:
                emit(part.commit())


@dataclass(slots=True)
class StageReport(RunReport):
    """What a run of a stage did; `total` counts all committed parts, earlier runs' too."""

    stage: str = ""
    total: Counts = field(default_factory=Counts)
    words: Labels = field(default_factory=Labels)

    @property
    def text(self) -> str:
        """What people read at the end."""
        lines = []
        if self.tally.count:
            kept = f"kept {self.words.rows}"
            lines += [drops_table(self.tally, kept), ""]
            rate = self.tally.count / max(self.wall_time, 1e-3)
            per_row = 1e6 * self.cpu_time / self.tally.count
            lines.append(
                f"{self.stage}: {duration(self.wall_time)}, {rate:,.0f} rows/s, "
                f"{per_row:,.1f} µs CPU a row".replace(",", " ")
            )
        return "\n".join([*lines, *describe_end(self, self.words)])


def fingerprint(kind: str, files: Iterable[InputFile], **more: Any) -> dict[str, Any]:
    """What tells an input from another, for the manifest: its kind, and its files' names and sizes.

    Args:
        more: whatever else tells it, as JSON.
    """
    return {
        "format": kind,
        "max_rows": None,
        "files": [
            {"name": file.path, "size": file.size, "rows": None, "schema": None, "digest": None}
            for file in files
        ],
        **more,
    }


def run_stage(
    stage: str,
    options: StageOptions,
    read_from: dict[str, Any],
    tasks: Callable[[int], Sequence[Task]],
    worker: Callable[[OutputFolder], Worker],
    *,
    words: Labels | None = None,
    inside: Sequence[str] = (),
    model: ModelNames | None = None,
    gpus: bool = False,
    finish: Callable[[OutputFolder, StageReport], None] | None = None,
) -> StageReport:
    """Make the parts that are missing. Blocks until that is done or stopped.

    Args:
        stage: its name, for people.
        read_from: the input's `fingerprint`.
        tasks: given the first part's number, the tasks of all parts, numbered from there on.
        worker: given the output folder, what the distributor runs; see `OneByOne`.
        inside: folders in the output folder that hold files of parts.
        model: what embeddings in the parts are made with, to be noted.
        gpus: workers use a GPU each where there are any.
        finish: called once all parts are committed, while the folder is still locked.

    Raises:
        UsageError: something about the options or the output folder cannot work; nothing was
            done.
    """
    started, cpu = time.monotonic(), cpu_time()
    words = words or Labels("part", "rows", "rows/s", "kept")
    distributor = open_distributor(options.distributor, options.processes_count, gpus=gpus)
    folder = OutputFolder.open(options.output_folder, options.tmp_dir, distributor.spans_machines)
    console = Console(sys.stderr, words)
    with ExitStack() as stack:
        lock = stack.enter_context(folder.lock(options.force))
        stack.callback(folder.close)
        folder.clean_staging()
        count = len(tasks(0))
        try:
            manifest = open_manifest(
                folder,
                options.incremental_mode,
                read_from,
                {"stage": stage, **options.identity()},
                count,
                lambda *_: "there is no record of what made them",
                inside,
            )
            stack.enter_context(distributor)
            manifest.begin()
            if model is not None:
                write_note(folder, model._asdict())
        except OSError as error:
            raise UsageError(f"cannot use the output folder {folder.path}: {error}") from None
        committed = manifest.committed_here()
        report = StageReport(folder.path, shards_before=len(committed), stage=stage, words=words)
        missing = [t for t in tasks(manifest.segment.first_shard) if t.shard_id not in committed]
        stop = stack.enter_context(StopSwitch())
        stack.callback(console.close)

        def expect() -> None:
            rows = None
            if report.shards_committed:
                rows = round(report.tally.count * len(missing) / report.shards_committed)
            console.expect(rows, len(missing))

        runner = Runner(
            report,
            worker(folder),
            stop,
            lock,
            console,
            lambda number: shard_name(number, DIGITS),
            expect,
            words,
            (lambda number: folder.is_visible(stats_name(number, DIGITS)))
            if distributor.spans_machines
            else None,
        )
        runner.run(distributor, iter(missing), options.max_shard_retry)
        report.wall_time = time.monotonic() - started
        report.cpu_time += cpu_time() - cpu
        if not report.exit_code:
            try:
                report.total = committed_counts(folder)
                if finish is not None:
                    finish(folder, report)
            except OSError as error:
                report.stopped = cannot_write(error)
    return report
