"""The protocol of a distributor, and the choice by name.

A distributor runs a worker over numbered tasks in other processes. It knows nothing of what
a task is: laion's stages run on the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from img2ds.outcome import UsageError


class Task(Protocol):
    """Anything picklable with a number that is unique in its run."""

    @property
    def shard_id(self) -> int: ...


class TaskReport(Protocol):
    """What a worker says. With a `shard_id` it ends that task; with None it is progress."""

    @property
    def shard_id(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class TaskLost:
    """A task whose process died under it; it may be given out again."""

    shard_id: int
    why: str


#: A worker takes an iterator of tasks, so that it can overlap them, and a callable for its
#: reports: exactly one with the task's number for each task it took. Pulling the next task may
#: block. It is called once in each process and must be picklable by reference.
Worker = Callable[[Iterator[Any], Callable[[Any], None]], None]


class Distributor(Protocol):
    """Runs workers. Tasks are pulled only as processes get free: in flight is bounded."""

    def stream(self, worker: Worker, tasks: Iterator[Any]) -> Generator[Any, None, None]:
        """Yield every report of every worker, and a `TaskLost` for each task that died.

        Closing the iterator early kills the workers. Raises RuntimeError when workers cannot
        be started or die again and again without finishing anything.
        """
        ...


def open_distributor(name: str, processes_count: int) -> Distributor:
    """The distributor called `name`.

    Raises:
        UsageError: there is none of that name.
    """
    if name == "multiprocessing":
        from img2ds.distributors.local import LocalDistributor

        return LocalDistributor(processes_count)
    raise UsageError(f"--distributor {name} is not built yet in this version of img2ds")
