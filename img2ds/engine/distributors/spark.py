"""Spark partitions that pull tasks from the driver until there are no more.

A job is one `mapPartitions` over as many partitions as there are workers, and `subjob_size` tasks.
Each partition connects to the driver and works as a local process does: it overlaps tasks, and its
reports arrive as they are made. Spark repeats and speculates partitions, not tasks: a repeated
partition takes the tasks that are left, a second attempt of a running one gets none.
"""

from __future__ import annotations

import contextlib
import pickle
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any, cast

from img2ds.engine.distributors.contract import Session, TaskLost, Worker, WorkersDieError, never
from img2ds.engine.distributors.sealed_connection import SealedConnection
from img2ds.engine.distributors.spark_session import open_session
from img2ds.engine.distributors.task_server import TaskServer, connect
from img2ds.engine.distributors.worker_channel import MAX_DEATHS, PeekableTasks, WorkerHandle, work

#: Seconds between two checks for new connections, ended jobs and signals.
POLL_INTERVAL = 0.1
#: Seconds that partitions have to end by themselves once no task is left.
GRACE = 10.0
#: Seconds for Spark to notice that they have.
QUIET = 2.0
#: Spark's setting for the driver's port that workers connect to; any free one when not set.
PORT_SETTING = "spark.img2ds.port"


@dataclass(frozen=True, slots=True)
class _Partition:
    """The function of a partition: connects to the driver and works.

    Attributes:
        address: host and port of the driver.
        key: the secret that both sides prove.
        job: the job's number.
    """

    address: tuple[str, int]
    key: bytes
    job: int

    def __call__(self, index: int, _: Iterator[Any]) -> Iterator[str]:
        try:
            inside = connect(self.address, self.key, (self.job, index))
        except OSError as error:
            host, port = self.address
            raise OSError(
                f"a worker on {socket.gethostname()} cannot connect to the driver at {host}:{port} "
                f"({error}): open the port, and choose it with {PORT_SETTING}"
            ) from None
        if inside is None:
            return iter(())  # a late attempt
        connection, worker = inside
        try:
            work(connection, worker)
        except Exception as error:
            with contextlib.suppress(OSError):
                connection.send(_Fault(f"{type(error).__name__}: {error}"))
            raise  # Spark logs it and starts the partition again
        return iter(())


@dataclass(frozen=True, slots=True)
class _Fault:
    """The last message of a worker that raised an exception."""

    why: str
    shard_id: None = None


class _SparkWorker(WorkerHandle[SealedConnection]):
    """A partition's attempt that has connected."""

    def __init__(self, connection: SealedConnection, job: _Job, index: int) -> None:
        super().__init__(connection)
        self.job = job
        self.index = index
        self.began = False
        self.why = "the connection to its worker broke (killed, or out of memory?)"


@dataclass(slots=True)
class _Job:
    """One Spark job: `left` tasks may still be taken by its partitions."""

    number: int
    left: int
    thread: threading.Thread | None = None
    connected: bool = False
    error: str | None = None
    working: set[int] = field(default_factory=set)  # partitions with an attempt that works


class SparkDistributor(Session):
    """Runs a worker in up to `processes_count` partitions at once, as the cluster has cores.

    Args:
        processes_count: None for Spark's default parallelism, which is one a core of the cluster
            unless executors come and go.
        subjob_size: tasks that a Spark job takes at most.
    """

    def __init__(self, processes_count: int | None, subjob_size: int) -> None:
        self._count = processes_count
        self._subjob_size = subjob_size
        self._session: Any = None
        self._started = False

    def __enter__(self) -> SparkDistributor:
        if self._session is None:
            self._session, self._started = open_session(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            self._session.stop()
        self._session, self._started = None, False

    def stream(
        self, worker: Worker, tasks: Iterator[Any], stopping: Callable[[], bool] = never
    ) -> Generator[Any, None, None]:
        """See `Distributor.stream`."""
        left = PeekableTasks(tasks, stopping)
        if not left:
            return
        with contextlib.ExitStack() as stack:
            if self._session is None:
                stack.enter_context(self)
            context = self._session.sparkContext
            count = self._count or context.defaultParallelism
            run = stack.enter_context(_Run(context, worker, left, count, self._subjob_size))
            yield from run.reports()


class _Run:
    """One pass over the tasks; a context manager that leaves no job behind."""

    def __init__(
        self, context: Any, worker: Worker, left: PeekableTasks, count: int, subjob_size: int
    ) -> None:
        self._context = context
        self._left = left
        self._count = count
        self._subjob_size = subjob_size
        self._key = secrets.token_bytes(32)
        self._group = f"img2ds-{secrets.token_hex(8)}"
        self._jobs: list[_Job] = []
        self._workers: dict[SealedConnection, _SparkWorker] = {}
        self._deaths = 0
        self._done = False
        conf = context.getConf()
        host = conf.get("spark.driver.host", "localhost")
        bind = conf.get("spark.driver.bindAddress", host)
        self._server = TaskServer(
            (bind, int(conf.get(PORT_SETTING, "0"))), self._key, pickle.dumps(worker)
        )
        self._address = (host, self._server.port)

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        if self._done:  # partitions that Spark has not started yet may never be
            self._join(QUIET)
        if any(job.thread and job.thread.is_alive() for job in self._jobs):
            self._context.cancelJobGroup(self._group)
        for worker in self._workers.values():
            worker.connection.close()  # its process ends at once
        self._join(GRACE)

    def _join(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        for job in self._jobs:
            if job.thread is not None:
                job.thread.join(max(0.0, end - time.monotonic()))

    def reports(self) -> Generator[Any, None, None]:
        """See `Distributor.stream`."""
        workers = self._workers
        while True:
            self._left.check_stop(workers.values())
            self._start_jobs()
            self._accept_workers()
            if not workers:
                time.sleep(POLL_INTERVAL)
            for ready in wait(cast(Any, list(workers)), POLL_INTERVAL) if workers else ():
                assert isinstance(ready, SealedConnection)
                yield from self._receive(workers[ready])
            if not self._left and not any(worker.tasks for worker in workers.values()):
                break
        for worker in workers.values():
            if not worker.ended:
                worker.give(None)
        end = time.monotonic() + GRACE
        while workers and time.monotonic() < end:
            for ready in wait(cast(Any, list(workers)), POLL_INTERVAL):
                assert isinstance(ready, SealedConnection)
                yield from self._receive(workers[ready])
        self._done = True

    def _receive(self, worker: _SparkWorker) -> Iterator[Any]:
        try:
            message = worker.read()
        except (EOFError, OSError):
            yield from self._remove(worker)
            return
        if message is None:
            self._give_next(worker)
        elif isinstance(message, _Fault):
            worker.why = f"its worker failed: {message.why}"
        else:
            if message.shard_id is not None:
                self._deaths = 0
            yield message

    def _remove(self, worker: _SparkWorker) -> Iterator[Any]:
        del self._workers[worker.connection]
        worker.connection.close()
        if worker.began:
            worker.job.working.discard(worker.index)
            for other in self._workers.values():  # a second attempt was waiting for this
                if other.job is worker.job and other.index == worker.index:
                    self._begin(other)
                    break
        if not worker.began or (worker.ended and not worker.tasks):
            return
        self._deaths += 1
        # One that dies may take the whole job with it, and so every other worker.
        if self._deaths >= MAX_DEATHS + self._count:
            raise WorkersDieError(f"{self._deaths} workers died one after another, {worker.why}")
        for number in worker.tasks:
            yield TaskLost(number, worker.why)

    def _accept_workers(self) -> None:
        for connection, (number, index) in self._server.arrivals():
            job = self._jobs[number]
            job.connected = True
            worker = _SparkWorker(connection, job, index)
            self._workers[connection] = worker
            if index not in job.working:
                self._begin(worker)

    def _begin(self, worker: _SparkWorker) -> None:
        worker.began = True
        worker.job.working.add(worker.index)
        self._give_next(worker)

    def _give_next(self, worker: _SparkWorker) -> None:
        task = self._left.take() if worker.job.left > 0 else None
        worker.job.left -= task is not None
        worker.give(task)

    def _start_jobs(self) -> None:
        """Start the first job, and the next one whenever the one before takes no more tasks."""
        current = self._jobs[-1] if self._jobs else None
        if current is not None:
            running = current.thread is not None and current.thread.is_alive()
            if not running and current.error is not None and not current.connected:
                raise RuntimeError(f"Spark could not start workers: {current.error}")
            if running and current.left > 0:
                return
        width = self._left.ahead(min(self._count, self._subjob_size))
        if not width:
            return
        job = _Job(len(self._jobs), self._subjob_size)
        self._jobs.append(job)
        job.thread = threading.Thread(target=self._run_job, args=(job, width), daemon=True)
        job.thread.start()

    def _run_job(self, job: _Job, width: int) -> None:
        context = self._context
        partition = _Partition(self._address, self._key, job.number)
        try:
            context.setJobGroup(self._group, "img2ds", interruptOnCancel=True)
            context.parallelize(range(width), width).mapPartitionsWithIndex(partition).collect()
        except Exception as error:  # Spark's and Py4J's own: whatever it is, the job has ended
            job.error = _failure_line(error)


def _failure_line(error: Exception) -> str:
    """Return the line of a Spark failure's pages that says what was wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in lines:
        if re.match(r"(\w+\.)*\w*Error: ", line) and "Py4JJavaError" not in line:
            return line
    return lines[0] if lines else type(error).__name__
