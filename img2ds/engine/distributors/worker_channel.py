"""The worker channel: both ends of the connection between a worker process and its parent.

The local distributor uses a socket pair, Spark's uses TCP. The parent sends tasks, None when there
are no more, and `Stop`; the worker sends reports, and None when it wants a task.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from img2ds.engine.distributors.contract import TaskStream, Worker

#: Workers that may die in a row, none finishing a task, before the run is given up.
MAX_DEATHS = 3
#: Seconds between two checks for signals.
POLL_INTERVAL = 0.5


@dataclass(frozen=True, slots=True)
class Stop:
    """Tells a worker that the run is to end soon; it gets no further task."""


class Stoppable(Protocol):
    """The parent's end of a worker."""

    def stop(self) -> None:
        """Tell the worker that the run is to end soon."""
        ...


class PeekableTasks:
    """Tasks that can be counted ahead; true while there is another one.

    Args:
        stopping: see `Distributor.stream`.
    """

    def __init__(self, tasks: Iterator[Any], stopping: Callable[[], bool]) -> None:
        self._tasks = tasks
        self._stopping = stopping
        self._peeked: deque[Any] = deque()
        self._closed = False

    def __bool__(self) -> bool:
        return self.ahead(1) > 0

    def ahead(self, count: int) -> int:
        """Return how many tasks are left, at most `count`, pulling them from the iterator."""
        if self._closed:
            return 0
        while len(self._peeked) < count:
            for task in self._tasks:
                self._peeked.append(task)
                break
            else:
                break
        return min(len(self._peeked), count)

    def take(self) -> Any:
        """Return the next task, None when there is none."""
        return self._peeked.popleft() if self else None

    def check_stop(self, workers: Iterable[Stoppable]) -> None:
        """When the run is to end soon, tell the workers, once, and drop the tasks that are left."""
        if not self._closed and self._stopping():
            self._closed = True
            for worker in workers:
                worker.stop()


class Channel(Protocol):
    """One end of a connection; a `multiprocessing.Connection`, for example."""

    def send(self, message: Any, /) -> None: ...

    def send_bytes(self, data: bytes, /) -> None: ...

    def recv(self) -> Any: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...


ChannelT = TypeVar("ChannelT", bound=Channel)


class WorkerHandle(Generic[ChannelT]):
    """The parent's end of one worker's channel, and the tasks that the worker holds.

    Attributes:
        tasks: by number.
        ended: whether the worker was sent the end of tasks.
    """

    def __init__(self, connection: ChannelT) -> None:
        self.connection = connection
        self.tasks: dict[int, Any] = {}
        self.ended = False

    def give(self, task: Any) -> None:
        """Send a task, or None for the end; `read` notices a worker that is gone."""
        self.ended = task is None
        if task is not None:
            self.tasks[task.shard_id] = task
        self._send(task)

    def stop(self) -> None:
        """Tell the worker that the run is to end soon."""
        self.ended = True
        self._send(Stop())

    def _send(self, message: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(message)

    def read(self) -> Any:
        """Return a report, or None when the worker wants a task.

        Raises:
            EOFError, OSError: the worker died.
        """
        message = self.connection.recv()
        if message is not None and message.shard_id is not None:
            self.tasks.pop(message.shard_id, None)
        return message


def work(connection: Channel, worker: Worker, leave: Callable[[], None] | None = None) -> None:
    """Run `worker` over the tasks that arrive, and send its reports: the worker's end.

    A thread listens to the parent: when the parent is gone this process exits at once.

    Args:
        leave: see `TaskStream`.
    """
    sending = threading.Lock()
    done = threading.Event()

    def emit(report: Any) -> None:
        with sending:
            connection.send(report)

    # The parent sends the first task without a request.
    tasks = TaskStream(pulling=lambda: emit(None), leave=leave)

    def listen() -> None:
        while True:
            try:
                message = connection.recv()
                if isinstance(message, Stop):
                    tasks.stop()
                else:
                    tasks.put(message)
            except (EOFError, OSError):
                if done.is_set():
                    return
                os._exit(1)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    worker(tasks, emit)
    # Every report has been sent; wake the listener, so that the process may live on.
    done.set()
    twin = socket.socket(fileno=os.dup(connection.fileno()))
    with twin, contextlib.suppress(OSError):
        twin.shutdown(socket.SHUT_RDWR)
    listener.join()
    connection.close()
