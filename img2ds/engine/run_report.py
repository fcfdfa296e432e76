"""What a run did, and how to resume it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from img2ds.engine import cpu_time as cpu
from img2ds.report.condition import Conditions
from img2ds.report.console import Labels
from img2ds.report.counters import Counts
from img2ds.report.units import counted


@dataclass(slots=True)
class RunReport:
    """What a run did. Make it when the run begins: its times count from there.

    Attributes:
        tally: the rows of the shards that this run committed.
        output_folder: as an absolute path, or an fsspec URL.
        shards_committed, shards_before: shards committed by this run, and before it.
        partial: shards that are saved as partial ones, for the next run to complete.
        resumed: rows that this run found in partial shards.
        failed: by shard why it could not be made.
        stopped: why the run ended early, None if it did not.
        interrupted: whether it was stopped by a signal.
        shortfall: why all shards are not enough, None if they are.
        wall_time, cpu_time: seconds; the latter of this process and of all workers, wherever
            they are.
        conditions: what bounded the run.
        labels: what the shards and their rows are called.
    """

    output_folder: str = ""
    tally: Counts = field(default_factory=Counts)
    shards_committed: int = 0
    shards_before: int = 0
    partial: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    stopped: str | None = None
    interrupted: bool = False
    shortfall: str | None = None
    wall_time: float = 0.0
    cpu_time: float = 0.0
    labels: Labels = field(default_factory=Labels)
    conditions: Conditions = field(default_factory=Conditions, repr=False)
    resumed: Counts = field(default_factory=Counts, repr=False)
    _started: float = field(default_factory=time.monotonic, repr=False)
    _cpu_started: float = field(default_factory=cpu.cpu_time, repr=False)

    @property
    def exit_code(self) -> int:
        """0 when every shard is committed, 1 when some are not, 130 when interrupted.

        3 when they are, and there is a shortfall.
        """
        if self.interrupted:
            return 130
        if self.failed or self.stopped:
            return 1
        return 0 if self.shortfall is None else 3

    def stop_clock(self) -> None:
        """The run has ended: set its times."""
        self.wall_time = time.monotonic() - self._started
        self.cpu_time += cpu.cpu_time() - self._cpu_started


def describe_end(report: RunReport) -> list[str]:
    """Say how much of a run is done, and how to resume it."""
    noun = report.labels.shard
    total = report.shards_committed + report.shards_before
    missing = len(report.failed)
    lines = [
        f"{counted(report.shards_committed, noun)} written"
        + (f" ({total:,} in total)" if report.shards_before else "")
        + (f", {counted(report.partial, f'partial {noun}')} saved," if report.partial else "")
        + (f", {missing:,} not finished," if missing else "")
        + f" in {report.output_folder}"
    ]
    if report.stopped is not None:
        lines.append(
            f"{report.stopped}: completed {noun}s are kept; rerun the same command to resume"
        )
    elif missing:
        lines.append(f"rerun the same command to build the missing {noun}s")
    elif report.shortfall is not None:
        lines.append(f"{report.shortfall} (exit code 3)")
    return lines
