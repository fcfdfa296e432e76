"""How a stage of the pipeline runs: its flags, and img2ds's engine as stages use it.

A stage reads files and writes numbered shards. A shard counts only when its commit marker,
`NNNNN_stats.json`, is there; it is written last. Running a stage again makes what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field
from typing import Any

from img2ds.config.flags import at_least, flag, identity_of
from img2ds.config.options import DISTRIBUTORS, INCREMENTAL_MODES
from img2ds.core.failure import UsageError
from img2ds.engine.build import Build, BuildSpec, open_build, read_manifest
from img2ds.engine.cores import usable_cores
from img2ds.engine.distributors.contract import Task, Worker
from img2ds.engine.fingerprint import FileFingerprint, fingerprint
from img2ds.engine.manifest import SegmentSpec
from img2ds.engine.marker import total_counts
from img2ds.engine.run_report import RunReport, describe_end
from img2ds.engine.stop import StopSwitch
from img2ds.report.console import Labels, Verbosity
from img2ds.report.counters import Counts
from img2ds.report.summary import drops_table
from img2ds.report.units import counted, duration, effort
from img2ds.storage import InputFile, OutputFolder
from laion.provenance import ModelNames, note_model


@dataclass(frozen=True, kw_only=True)
class StageOptions:
    """The flags of every stage; a stage adds its own as a subclass."""

    output_folder: str = flag(
        MISSING, "str", "where the shards go: a folder or fsspec URL", identity=False
    )
    processes_count: int | None = flag(
        None, "int?", "worker processes (default: one a core)", identity=False
    )
    distributor: str = flag(
        "multiprocessing", "choice", "what runs the worker processes", *DISTRIBUTORS, identity=False
    )
    incremental_mode: str = flag(
        "incremental", "choice",
        "incremental resumes, overwrite starts over, extend adds this input",
        *INCREMENTAL_MODES, identity=False,
    )  # fmt: skip
    max_shard_retry: int = flag(1, "int", "times a failed shard is retried", identity=False)
    tmp_dir: str | None = flag(
        None, "str?", "local folder for unfinished shards (default: inside a local output folder)",
        identity=False,
    )  # fmt: skip
    force: bool = flag(
        False, "bool", "take over the output folder from a run that still holds it", identity=False
    )

    def __post_init__(self) -> None:
        if not self.output_folder:
            raise UsageError("--output_folder is required: where the shards go")
        at_least("processes_count", self.processes_count, 1)
        at_least("max_shard_retry", self.max_shard_retry, 0)

    def identity(self) -> dict[str, Any]:
        """Return the options that decide what a shard is, for the manifest."""
        return identity_of(self)

    @property
    def on_this_machine(self) -> bool:
        """Whether all workers are processes of this machine."""
        return self.distributor == "multiprocessing"

    @property
    def processes(self) -> int:
        """Worker processes: those asked for, else one a core this process may use."""
        return self.processes_count or usable_cores()


@dataclass(slots=True)
class StageReport(RunReport):
    """What a run of a stage did; `total` counts all committed shards, earlier runs' too."""

    stage: str = ""
    total: Counts = field(default_factory=Counts)

    @property
    def text(self) -> str:
        """What people read at the end."""
        lines = []
        if self.tally.count:
            lines += [drops_table(self.tally, f"kept {self.labels.rows}"), ""]
            rate = self.tally.count / max(self.wall_time, 1e-3)
            lines.append(
                f"{self.stage}: {duration(self.wall_time)}, {rate:,.0f} rows/s, "
                f"{effort(self.cpu_time / self.tally.count)} CPU per row"
            )
        return "\n".join([*lines, *describe_end(self)])


def file_fingerprint(kind: str, files: Iterable[InputFile], **more: Any) -> dict[str, Any]:
    """Return the fingerprint of an input whose files are known by their path and size."""
    return fingerprint(kind, [FileFingerprint(f.path, f.size) for f in files], **more)


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """A stage and its input.

    Attributes:
        stage: its name, for people and for the manifest.
        fingerprint: identifies the input.
        shard_count: shards that are made of it.
        subfolders: folders of the output folder that hold files of shards.
        model: what embeddings in the shards are made with, to be noted.
        gpus: workers use a GPU each where there are any.
        identity: what decides the result in addition to the options, for the manifest.
    """

    stage: str
    options: StageOptions
    fingerprint: dict[str, Any]
    shard_count: int
    labels: Labels = field(default_factory=lambda: Labels("shard", "rows", "rows/s", "kept"))
    subfolders: Sequence[str] = ()
    model: ModelNames | None = None
    gpus: bool = False
    identity: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageBuild:
    """The build of a stage: its folder is locked."""

    build: Build[StageReport]

    @property
    def folder(self) -> OutputFolder:
        return self.build.folder

    @property
    def first_shard(self) -> int:
        """The number of the first shard of this input."""
        return self.build.first_shard

    @property
    def stop(self) -> StopSwitch:
        return self.build.stop

    @property
    def report(self) -> StageReport:
        return self.build.report

    def note(self, text: str) -> None:
        """Print a line for people."""
        self.build.console.note(text)

    def record_stop(self) -> None:
        """Report that work after the shards ended early, as the stop switch says."""
        self.build.record_stop()

    def run(self, worker: Worker, tasks: Iterable[Task], isolated: Worker | None = None) -> bool:
        """Make the missing shards, and count all. Blocks until that is done or stopped.

        Args:
            isolated: the worker for tasks that were lost before; by default `worker`.

        Returns:
            Whether every shard is committed.
        """
        report = self.build.run(worker, tasks, isolated=isolated)
        if report.exit_code:
            return False
        report.total = total_counts(self.folder)
        return True


def check_stage(spec: StageSpec) -> None:
    """Raise UsageError when the output folder is of another input or of other options."""
    options = spec.options
    folder = OutputFolder.open(options.output_folder, options.tmp_dir)
    read_manifest(folder, _segment(spec))


def _segment(spec: StageSpec) -> SegmentSpec:
    return SegmentSpec(
        fingerprint=spec.fingerprint,
        options={"stage": spec.stage, **spec.options.identity(), **spec.identity},
        shard_count=spec.shard_count,
        mode=spec.options.incremental_mode,
        subfolders=tuple(spec.subfolders),
    )


@contextmanager
def open_stage(spec: StageSpec) -> Iterator[StageBuild]:
    """Open the build of a stage; see `open_build`.

    Raises:
        UsageError: something about the options or the output folder cannot work; nothing was
            done.
    """
    options = spec.options
    build_spec = BuildSpec(
        output_folder=options.output_folder,
        segment=_segment(spec),
        tmp_dir=options.tmp_dir,
        force=options.force,
        distributor=options.distributor,
        processes_count=options.processes_count,
        gpus=spec.gpus,
        retries=options.max_shard_retry,
        verbosity=Verbosity(logger="laion"),
    )
    with open_build(build_spec, StageReport(labels=spec.labels, stage=spec.stage)) as build:
        if spec.model is not None:
            note_model(build.folder, spec.model)
        build.console.note(_start_line(spec, len(build.committed), build.folder.path), dated=True)
        yield StageBuild(build)


def _start_line(spec: StageSpec, committed: int, folder: str) -> str:
    shards = counted(spec.shard_count, spec.labels.shard)
    done = f", {committed:,} of them committed" if committed else ""
    return f"{spec.stage}: {shards}{done}; into {folder}"
