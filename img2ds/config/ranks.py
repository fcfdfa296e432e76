"""Which of several runs on one folder this is: `--rank`, `--world_size`, and Slurm's variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from img2ds.config.flags import flag
from img2ds.core.failure import UsageError
from img2ds.core.rank import ALONE, Rank

#: The value of `--rank` and `--world_size` that reads Slurm's variables.
SLURM = "slurm"


@dataclass(frozen=True, slots=True)
class RankOptions:
    """Several runs that share one output folder, such as the tasks of a Slurm job."""

    TITLE: ClassVar[str] = "Several runs on one folder (docs/slurm.md)"

    rank: str | None = flag(
        None, "str?",
        "number of this run, from 0; it makes the shards with number % world_size == rank. "
        "slurm reads both from the variables of a Slurm step or job array",
        identity=False,
    )  # fmt: skip
    world_size: str | None = flag(
        None, "str?", "number of runs that share the output folder, or slurm", identity=False
    )

    def __post_init__(self) -> None:
        for name in ("rank", "world_size"):
            value = getattr(self, name)
            if value is not None and value.lower() != SLURM and not value.isdecimal():
                raise UsageError(f"--{name} takes a whole number or {SLURM}, got {value!r}")
        if None in (self.rank, self.world_size) and SLURM not in self._lowered:
            if self.rank is not None:
                raise UsageError(f"--rank {self.rank} needs --world_size, the number of runs")
            if self.world_size is not None:
                raise UsageError(
                    f"--world_size {self.world_size} needs --rank, the number of this run, from 0"
                )
        if all(value not in (None, SLURM) for value in self._lowered):
            self.resolve({})

    @property
    def _lowered(self) -> tuple[str | None, str | None]:
        rank, size = (
            None if value is None else value.lower() for value in (self.rank, self.world_size)
        )
        return rank, size

    def resolve(self, environ: Mapping[str, str]) -> Rank:
        """Return the rank of this run.

        Args:
            environ: the environment, for `slurm`.

        Raises:
            UsageError: it is none of the numbers from 0 to `world_size` - 1, or Slurm's variables
                do not tell.
        """
        if self.rank is None and self.world_size is None:
            return ALONE
        rank, size = self._lowered
        slurm = slurm_rank(environ) if SLURM in (rank, size) else ALONE
        number = slurm.number if rank in (None, SLURM) else int(str(rank))
        world_size = slurm.world_size if size in (None, SLURM) else int(str(size))
        if not 0 <= number < world_size:
            raise UsageError(
                f"--rank is a number from 0 to --world_size - 1, got {number} of {world_size}"
            )
        return Rank(number, world_size)


def slurm_note(environ: Mapping[str, str]) -> str | None:
    """Return a note for a run without ranks that is one of several tasks; None if it is not."""
    try:
        rank = slurm_rank(environ)
    except UsageError:
        return None
    if rank.alone:
        return None
    return (
        f"task {rank.number} of {rank.world_size} of a Slurm job, which makes all shards of the "
        "list: to share them among the tasks, add --rank slurm"
    )


def slurm_rank(environ: Mapping[str, str]) -> Rank:
    """Return the rank by Slurm's variables: of the array task, and in it of the step's task.

    Raises:
        UsageError: this is neither, or the numbers of the array have gaps.
    """
    array = _array_rank(environ)
    step = _step_rank(environ)
    if array is None and step is None:
        raise UsageError(
            "--rank slurm: SLURM_PROCID and SLURM_ARRAY_TASK_ID are not set: start img2ds in a "
            "job array or with srun, or give numbers"
        )
    array, step = array or ALONE, step or ALONE
    return Rank(array.number * step.world_size + step.number, array.world_size * step.world_size)


def _step_rank(environ: Mapping[str, str]) -> Rank | None:
    """Return the rank among the tasks that srun started; None outside of Slurm.

    A batch script has SLURM_PROCID and SLURM_NTASKS as well, and is one process.
    """
    if "SLURM_PROCID" not in environ:
        return None
    if "SLURM_STEP_NUM_TASKS" in environ:
        return Rank(_number(environ, "SLURM_PROCID"), _number(environ, "SLURM_STEP_NUM_TASKS"))
    tasks = _number(environ, "SLURM_NTASKS") if "SLURM_NTASKS" in environ else 1
    if tasks > 1:
        raise UsageError(
            f"--rank slurm: the job has {tasks} tasks, and this process was not started by srun: "
            "write srun before img2ds, or give numbers"
        )
    return ALONE


def _array_rank(environ: Mapping[str, str]) -> Rank | None:
    if "SLURM_ARRAY_TASK_ID" not in environ:
        return None
    task, first, last, count = (
        _number(environ, f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "MAX", "COUNT")
    )
    step, rest = divmod(last - first, count - 1) if count > 1 else (1, 0)
    if rest or not step or (task - first) % step:
        raise UsageError(
            "--rank slurm: the numbers of the job array have gaps: use --array=0-N, "
            "or give --rank and --world_size"
        )
    return Rank((task - first) // step, count)


def _number(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name, "")
    if not value.isdecimal():
        raise UsageError(f"--rank slurm: {name} is not a number: {value!r}")
    return int(value)
