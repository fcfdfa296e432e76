"""The contract of a distributor: it runs a worker over numbered tasks in other processes.

It knows nothing of what a task is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol


class Task(Protocol):
    """Anything picklable with a number that is unique in its run."""

    @property
    def shard_id(self) -> int: ...


@dataclass(frozen=True, slots=True)
class TaskLost:
    """A task whose worker died; it may be given out again."""

    shard_id: int
    why: str


#: A worker takes an iterator of tasks, so that it can overlap them, and a callable for its
#: reports. A report with a task's number as `shard_id` ends that task, exactly one for each task it
#: took; one with None is progress. Pulling the next task may block. A worker is called once in each
#: process and must be picklable by reference.
Worker = Callable[[Iterator[Any], Callable[[Any], None]], None]


class Distributor(Protocol):
    """Runs workers. Tasks are pulled only as workers become idle: few are in flight.

    A context manager: entering it connects to the cluster, or starts one on this machine;
    leaving it ends what it started and nothing else. Entering raises UsageError when no cluster
    can be used. `stream` enters it if needed.
    """

    @property
    def spans_machines(self) -> bool:
        """Whether workers may be on other machines, and an attempt outlive its connection."""
        ...

    def stream(self, worker: Worker, tasks: Iterator[Any]) -> Generator[Any, None, None]:
        """Yield every report of every worker, and a `TaskLost` for each task that died.

        A task that is lost may still be running somewhere, if its machine is out of reach: what
        workers publish has to be safe against a second attempt (`OutputFolder.claim`).
        Closing the iterator early kills the workers. Raises RuntimeError when workers cannot
        be started or die again and again without finishing anything.
        """
        ...

    def __enter__(self) -> Distributor: ...

    def __exit__(self, *_: object) -> None: ...


class Session:
    """A distributor that has nothing to connect to, as a context manager."""

    spans_machines = True

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        return None
