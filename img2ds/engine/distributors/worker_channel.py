"""Both ends of the connection over which a worker process pulls tasks and sends its reports.

The local distributor speaks it over a socket pair, Spark's over TCP. The parent sends tasks, and
None when there are no more; the worker sends reports, and None when it wants a task.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from img2ds.engine.distributors.contract import Worker

#: Workers that die one after another without finishing a task before the run is given up.
MAX_DEATHS = 3
#: Seconds between two looks at whether a signal came.
POLL_INTERVAL = 0.5


class PeekableTasks:
    """An iterator one can look into: true while there is another task."""

    def __init__(self, tasks: Iterator[Any]) -> None:
        self._tasks = tasks
        self._peeked: deque[Any] = deque()

    def __bool__(self) -> bool:
        return self.ahead(1) > 0

    def ahead(self, count: int) -> int:
        """How many tasks are left, `count` at most; so many are pulled from the iterator."""
        while len(self._peeked) < count:
            for task in self._tasks:
                self._peeked.append(task)
                break
            else:
                break
        return min(len(self._peeked), count)

    def take(self) -> Any:
        """The next task, None when there is none."""
        return self._peeked.popleft() if self else None


class WorkerHandle:
    """The parent's end: one worker, and the tasks it holds.

    Attributes:
        tasks: by number.
        ended: it has been told that there are no more.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.tasks: dict[int, Any] = {}
        self.ended = False

    def give(self, task: Any) -> None:
        """Hand over a task, or None for the end; a worker that is gone is noticed in `read`."""
        self.ended = task is None
        if task is not None:
            self.tasks[task.shard_id] = task
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(task)

    def read(self) -> Any:
        """A report, or None when the worker wants a task. Raises EOFError or OSError: it died."""
        message = self.connection.recv()
        if message is not None and message.shard_id is not None:
            self.tasks.pop(message.shard_id, None)
        return message


def work(connection: Connection, worker: Worker) -> None:
    """The worker's end: run `worker` over the tasks that come, send what it says, return.

    A thread listens to the parent all the time: when the parent is gone, so is this process, at
    once, whatever it does.
    """
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    sending = threading.Lock()
    done = threading.Event()

    def listen() -> None:
        while True:
            try:
                inbox.put(connection.recv())
            except (EOFError, OSError):
                if done.is_set():
                    return
                os._exit(1)

    def emit(report: Any) -> None:
        with sending:
            connection.send(report)

    def tasks() -> Iterator[Any]:
        task = inbox.get()  # the first comes unasked
        while task is not None:
            yield task
            with sending:
                connection.send(None)
            task = inbox.get()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    worker(tasks(), emit)
    # Everything said has been sent; the listener is woken, so that the process may live on.
    done.set()
    twin = socket.socket(fileno=os.dup(connection.fileno()))
    with twin, contextlib.suppress(OSError):
        twin.shutdown(socket.SHUT_RDWR)
    listener.join()
    connection.close()
