"""Passes of a stage that come before its shards: over the input, or over what others made.

Each pass makes numbered files in a folder of its own, committed like shards: a run that was killed
resumes with the tasks that are missing. The folders are removed when the last shard is committed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from img2ds.core.state import WORK
from img2ds.engine.build import BuildSpec, open_build
from img2ds.engine.run_report import RunReport
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import ShardOutput
from img2ds.report.console import Labels, Verbosity
from laion.stage import StageBuild, StageOptions


class PassesEndedError(Exception):
    """A pass is not complete; the stage's report says why."""


@dataclass(frozen=True, slots=True)
class Passes:
    """Runs passes in the folder of an open stage.

    Attributes:
        name: the folder of this input and these options, in the output folder.
        rows: what the rows of a pass are called.
    """

    build: StageBuild
    options: StageOptions
    name: str
    rows: str

    @classmethod
    def open(cls, build: StageBuild, options: StageOptions, identity: Any, rows: str) -> Passes:
        """Remove what other inputs or options left; with `overwrite`, all. Raises OSError."""
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        folder = f"{WORK}/{rows}-"
        own = f"{folder}{digest[:12]}"
        others = [name for name in build.folder.names(WORK) if name.startswith(folder)]
        fresh = options.incremental_mode == "overwrite"
        build.folder.remove(name for name in others if fresh or name != own)
        return cls(build, options, own, rows)

    @property
    def path(self) -> str:
        """The path of the folder."""
        return f"{self.build.folder.path}/{self.name}"

    def run(
        self, name: str, make: Callable[[Any, ShardOutput], None], tasks: Sequence[Any]
    ) -> RunReport:
        """Run the tasks of a pass, and return its report. Blocks until they are done or stopped.

        Raises:
            PassesEndedError: tasks are missing; the stage's report says why.
        """
        report = RunReport(labels=Labels("task", self.rows, f"{self.rows}/s", "kept"))
        spec = BuildSpec(
            output_folder=f"{self.path}/{name}",
            distributor=self.options.distributor,
            processes_count=self.options.processes,
            retries=self.options.max_shard_retry,
            verbosity=Verbosity(shards=False, logger="laion"),
        )
        with open_build(spec, report) as build:
            build.run(SequentialWorker(build.folder, make), tasks)
            whole = self.build.report
            whole.cpu_time += report.cpu_time  # of other machines: this one's is counted as it is
        if not report.exit_code:
            return report
        whole.interrupted |= report.interrupted
        failed = next(iter(report.failed.values()), None)
        whole.stopped = report.stopped or (failed and f"the pass {name} failed: {failed}")
        raise PassesEndedError(f"the pass {name} is not complete")

    def ended(self, why: str) -> PassesEndedError:
        """Record why a pass is not complete, and return the error to raise."""
        self.build.report.stopped = why
        return PassesEndedError(why)

    def remove(self) -> None:
        """Remove the folder: the stage is complete. Raises OSError."""
        self.build.folder.remove([self.name])
