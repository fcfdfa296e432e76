"""One process a core on this machine, each pulling tasks through its own pipe.

Processes are started as programs of their own, not forked (threads of Arrow and OpenCV do not
survive a fork) and not through multiprocessing (which runs the user's main module again): a
script without an `if __name__` guard, and a notebook, work as they are.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Generator, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from img2ds.distributor import TaskLost, Worker

#: Workers that die one after another without finishing a task before the run is given up.
MAX_DEATHS = 3
#: Seconds between two looks at whether a signal came.
TICK = 0.5


class _Process:
    """A worker process and the tasks it holds."""

    def __init__(self, worker: bytes) -> None:
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "img2ds.distributors.local", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
        theirs.close()
        self.connection = Connection(ours.detach())
        self.tasks: dict[int, Any] = {}
        self.ended = False
        with contextlib.suppress(BrokenPipeError):  # it died at birth: seen when read from
            self.connection.send_bytes(worker)

    def close(self) -> int:
        self.connection.close()
        return self.process.wait()


class LocalDistributor:
    """Runs a worker in up to `processes_count` processes; fewer when there are fewer tasks."""

    def __init__(self, processes_count: int) -> None:
        self._count = processes_count

    def stream(self, worker: Worker, tasks: Iterator[Any]) -> Generator[Any, None, None]:
        """See `Distributor.stream`."""
        blob = pickle.dumps(worker)
        supply = _Supply(tasks)
        processes: dict[Connection, _Process] = {}
        deaths = 0
        try:
            while True:
                while len(processes) < self._count and supply:
                    process = _Process(blob)
                    processes[process.connection] = process
                    # One at a time: the next is worth starting when this one left a task over.
                    process.tasks.update(_give(process, supply))
                if not processes:
                    return
                for ready in wait(list(processes), TICK):
                    assert isinstance(ready, Connection)
                    process = processes[ready]
                    try:
                        message = ready.recv()
                    except (EOFError, ConnectionError):
                        del processes[ready]
                        code = process.close()
                        if process.ended and code == 0 and not process.tasks:
                            continue
                        deaths += 1
                        if deaths >= MAX_DEATHS:
                            raise RuntimeError(
                                f"{deaths} workers died one after another, {_end(code)}"
                            ) from None
                        for number in process.tasks:
                            yield TaskLost(number, f"its worker died, {_end(code)}")
                        continue
                    if message is None:
                        process.tasks.update(_give(process, supply))
                        continue
                    if message.shard_id is not None:
                        process.tasks.pop(message.shard_id, None)
                        deaths = 0
                    yield message
        finally:
            for process in processes.values():
                process.process.kill()
                process.close()


class _Supply:
    """An iterator one can look into: true while there is another task."""

    def __init__(self, tasks: Iterator[Any]) -> None:
        self._tasks = tasks
        self._peeked: deque[Any] = deque()

    def __bool__(self) -> bool:
        if not self._peeked:
            for task in self._tasks:
                self._peeked.append(task)
                break
        return bool(self._peeked)

    def take(self) -> Any:
        return self._peeked.popleft() if self else None


def _give(process: _Process, supply: _Supply) -> dict[int, Any]:
    """Answer a process that asks for a task, or tell it that there are no more."""
    task = supply.take()
    process.ended = task is None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.connection.send(task)
    return {} if task is None else {task.shard_id: task}


def _end(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def child_main(descriptor: int) -> None:
    """The life of a worker process: read the worker, feed it tasks, send what it says.

    A thread listens to the parent all the time: when the parent is gone, so is the process, at
    once, whatever it does.
    """
    # The parent decides what Ctrl-C means; it reaches the whole foreground group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection = Connection(descriptor)
    try:
        worker = pickle.loads(connection.recv_bytes())
    except EOFError:
        os._exit(1)
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    sending = threading.Lock()

    def listen() -> None:
        while True:
            try:
                inbox.put(connection.recv())
            except (EOFError, OSError):
                os._exit(1)

    def emit(report: Any) -> None:
        with sending:
            connection.send(report)

    def tasks() -> Iterator[Any]:
        yield inbox.get()  # the first comes unasked
        while True:
            with sending:
                connection.send(None)
            task = inbox.get()
            if task is None:
                return
            yield task

    threading.Thread(target=listen, daemon=True).start()
    try:
        worker(tasks(), emit)
    except BrokenPipeError:
        os._exit(1)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    # The listener still reads; ending the process is all the tidying there is to do.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    child_main(int(sys.argv[1]))
