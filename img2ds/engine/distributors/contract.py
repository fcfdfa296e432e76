"""The contract of a distributor: it runs a worker over numbered tasks in other processes.

It knows nothing of what a task is.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol


class Task(Protocol):
    """Anything picklable with a number that is unique in its run."""

    @property
    def shard_id(self) -> int: ...


class WorkersDieError(RuntimeError):
    """Workers die one after another, and none of them finishes a task."""


@dataclass(frozen=True, slots=True)
class TaskLost:
    """A task whose worker died; it may be given out again."""

    shard_id: int
    why: str


def _nothing() -> None:
    pass


class TaskStream(Iterator[Any]):
    """The tasks of one worker, as they arrive from the parent. Pulling the next one may block.

    Args:
        pulling: called before each task but the first is waited for.
        pulled: called for each task that is returned.
        leave: ends the process of a worker that cannot return, once it has reported all its tasks;
            None where more runs in the process.

    Attributes:
        stop_event: is set with `stopping`.
        stopping: whether the run is to end soon. Then pulling does not block: it returns the tasks
            that were given already, and ends.
    """

    def __init__(
        self,
        pulling: Callable[[], None] = _nothing,
        pulled: Callable[[], None] = _nothing,
        leave: Callable[[], None] | None = None,
    ) -> None:
        self.stopping = False
        self.stop_event = threading.Event()
        self.leave = leave
        self._pulling, self._pulled = pulling, pulled
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._first = True
        self._ended = False

    def put(self, task: Any) -> None:
        """Add a task; None stands for the end. From any thread."""
        self._inbox.put(task)

    def stop(self) -> None:
        """Set `stopping`, and wake the thread that pulls. From any thread."""
        self.stopping = True
        self.stop_event.set()
        self._inbox.put(None)

    def __next__(self) -> Any:
        if not (self._first or self._ended or self.stopping):
            self._pulling()
        self._first = False
        while not self._ended:
            if self.stopping and self._inbox.empty():
                break
            try:  # another thread may have taken the last one
                task = self._inbox.get(block=not self.stopping)
            except queue.Empty:
                break
            if task is not None:
                self._pulled()
                return task
            self._ended = not self.stopping  # else it only woke this thread
        raise StopIteration


def is_stopping(tasks: Iterator[Any]) -> bool:
    """Return whether a worker's run is to end soon."""
    return isinstance(tasks, TaskStream) and tasks.stopping


#: A worker takes an iterator of tasks, so that it can overlap them, and a callable for its
#: reports. A report with a task's number as `shard_id` ends that task, exactly one for each task it
#: took; one with None is progress. The iterator is a `TaskStream`: a worker that looks at its
#: `stopping` ends its tasks soon when that is set, the others end those that they were given. A
#: worker is called once in each process and must be picklable by reference.
Worker = Callable[[Iterator[Any], Callable[[Any], None]], None]


def never() -> bool:
    """Return false."""
    return False


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

    def stream(
        self, worker: Worker, tasks: Iterator[Any], stopping: Callable[[], bool] = never
    ) -> Generator[Any, None, None]:
        """Yield every report of every worker, and a `TaskLost` for each task that died.

        Once `stopping` returns true, workers are told so, and none is given a further task.

        A task that is lost may still be running somewhere, if its machine is out of reach: what
        workers publish has to be safe against a second attempt (`OutputFolder.claim`).
        Closing the iterator early kills the workers. Raises RuntimeError when workers cannot
        be started, WorkersDieError when they die again and again without finishing anything.
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
