"""How to run: the flags of processes and retries, a group that validates itself."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

from img2ds.config.flags import at_least, flag, positive
from img2ds.core.failure import UsageError

DISTRIBUTORS = ("multiprocessing", "pyspark", "ray")

#: How a run is carried out is not part of a dataset's identity.
_flag = functools.partial(flag, identity=False)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How the run is executed: processes, retries, limits and logging."""

    TITLE: ClassVar[str] = "Run"

    processes_count: int | None = _flag(
        None, "int?",
        "worker processes (default: one per core of the machine, container or cluster)",
    )  # fmt: skip
    memory_budget: int = _flag(
        128_000_000, "size", "maximum bytes of responses held in memory, per process"
    )
    distributor: str = _flag(
        "multiprocessing", "choice", "what runs the worker processes", *DISTRIBUTORS
    )
    subjob_size: int = _flag(1000, "int", "shards per pyspark job; other distributors ignore it")
    max_shard_retry: int = _flag(1, "int", "further attempts at a shard that failed")
    max_runtime: float | None = _flag(None, "float?", "seconds after which the run is stopped")
    min_success: float = _flag(
        0.0, "float", "share of the rows, 0 to 1, that have to succeed, else the exit code is 3; "
        "0: one row",
    )  # fmt: skip
    grace_seconds: float = _flag(
        15.0, "float", "seconds that rows in flight have to end when the run is stopped"
    )
    dry_run: bool = _flag(False, "bool", "check everything, print the plan, and download nothing")
    quiet: bool = _flag(
        False, "bool", "print warnings and errors only: no progress, and no table at the end"
    )
    report: str | None = _flag(None, "str?", "JSON file for the result of the run")
    metrics_port: int | None = _flag(
        None, "int?", "port that serves the state of the run as Prometheus text (0: a free one)"
    )
    enable_wandb: bool = _flag(False, "bool", "log to Weights & Biases, as img2dataset does")
    wandb_project: str = _flag("img2dataset", "str", "Weights & Biases project to log to")

    def __post_init__(self) -> None:
        at_least("processes_count", self.processes_count, 1)
        at_least("memory_budget", self.memory_budget, 1)
        at_least("subjob_size", self.subjob_size, 1)
        at_least("max_shard_retry", self.max_shard_retry, 0)
        at_least("grace_seconds", self.grace_seconds, 0)
        if not 0 <= self.min_success <= 1:
            raise UsageError(f"--min_success is a share from 0 to 1, got {self.min_success:g}")
        if self.max_runtime is not None:
            positive("max_runtime", self.max_runtime)
        if self.metrics_port is not None and not 0 <= self.metrics_port < 65536:
            raise UsageError(f"--metrics_port is a number from 0 to 65535, got {self.metrics_port}")
        if not self.wandb_project:
            raise UsageError("--wandb_project must not be empty")
