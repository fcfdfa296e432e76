"""Worker processes on this machine, each pulling tasks over its own socket pair.

A script without an `if __name__` guard, and a notebook, work as they are: see `child_process`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from img2ds.core.pandas_import import keep_pandas_out
from img2ds.engine.child_process import ignore_stops, start_child
from img2ds.engine.cores import usable_cores
from img2ds.engine.distributors.contract import Session, TaskLost, Worker, WorkersDieError, never
from img2ds.engine.distributors.worker_channel import (
    MAX_DEATHS,
    POLL_INTERVAL,
    PeekableTasks,
    WorkerHandle,
    work,
)


class _Process(WorkerHandle[Connection]):
    """A worker process and the tasks it holds."""

    def __init__(self, worker: bytes) -> None:
        self.process, connection = start_child("img2ds.engine.distributors.local")
        super().__init__(connection)
        with contextlib.suppress(BrokenPipeError):  # it is dead already, which `read` notices
            self.connection.send_bytes(worker)

    def close(self) -> int:
        self.connection.close()
        return self.process.wait()


class LocalDistributor(Session):
    """Runs a worker in up to `processes_count` processes; fewer when there are fewer tasks."""

    spans_machines = False

    def __init__(self, processes_count: int | None) -> None:
        self._count = processes_count or usable_cores()

    def stream(
        self, worker: Worker, tasks: Iterator[Any], stopping: Callable[[], bool] = never
    ) -> Generator[Any, None, None]:
        """See `Distributor.stream`."""
        blob = pickle.dumps(worker)
        left = PeekableTasks(tasks, stopping)
        processes: dict[Connection, _Process] = {}
        deaths = 0
        try:
            while True:
                left.check_stop(processes.values())
                while len(processes) < self._count and left:
                    process = _Process(blob)
                    processes[process.connection] = process
                    # One at a time: the next is worth starting only if a task is left.
                    process.give(left.take())
                if not processes:
                    return
                for ready in wait(list(processes), POLL_INTERVAL):
                    assert isinstance(ready, Connection)
                    process = processes[ready]
                    try:
                        message = process.read()
                    except (EOFError, ConnectionError):
                        del processes[ready]
                        code = process.close()
                        if process.ended and code == 0 and not process.tasks:
                            continue
                        deaths += 1
                        if deaths >= MAX_DEATHS:
                            raise WorkersDieError(
                                f"{deaths} workers died one after another, {_end(code)}"
                            ) from None
                        for number in process.tasks:
                            yield TaskLost(number, f"its worker died, {_end(code)}")
                        continue
                    if message is None:
                        process.give(left.take())
                        continue
                    if message.shard_id is not None:
                        deaths = 0
                    yield message
        finally:
            for process in processes.values():
                process.process.kill()
                process.close()


def _end(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def child_main(descriptor: int) -> None:
    """Run a worker process: read the worker from the connection, and `work`."""
    ignore_stops()
    connection = Connection(descriptor)
    keep_pandas_out()
    try:
        gc.disable()  # a tenth of the CPU of starting: nothing that is imported is garbage
        worker = pickle.loads(connection.recv_bytes())
        gc.enable()
        work(connection, worker, leave=lambda: os._exit(0))
    except (BrokenPipeError, EOFError):
        os._exit(1)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    # Nothing else needs tidying: the process ends.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    child_main(int(sys.argv[1]))
