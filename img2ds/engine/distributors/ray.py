"""Long-lived actors on a Ray cluster, each with two tasks queued besides those it works on.

The only importer of Ray. A Ray that is connected already, the one that RAY_ADDRESS names, or one
that runs on this machine is used; else one is started here and ended with the run.
"""

from __future__ import annotations

import os
import pickle
import re
import socket
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.engine.cores import usable_cores
from img2ds.engine.distributors.contract import (
    Session,
    TaskLost,
    TaskStream,
    Worker,
    WorkersDieError,
    never,
)
from img2ds.engine.distributors.worker_channel import MAX_DEATHS, POLL_INTERVAL, PeekableTasks

#: Tasks that wait at an actor, so that it never waits for the driver.
QUEUED = 2
#: Seconds for connecting to a cluster.
CONNECT_TIMEOUT = 10.0
#: Reports in one answer of an actor, at most.
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class _Answer:
    """What an actor did since its last answer.

    Attributes:
        pulled: tasks that its worker has taken so far, of all that were given.
        ended: whether the worker has returned.
        fault: the last line of its traceback, if it raised.
    """

    reports: list[Any]
    pulled: int
    ended: bool = False
    fault: str | None = None


class Actor:
    """One worker in a process of its own; tasks and reports pass through method calls."""

    def __init__(self, worker: bytes) -> None:
        self._tasks = TaskStream(pulled=self._count_pulled)
        self._changed = threading.Condition()
        self._reports: list[Any] = []
        self._pulled = 0
        self._reported_pulled = -1
        self._ended = False
        self._fault: str | None = None
        threading.Thread(target=self._run, args=(worker,), daemon=True).start()

    def give(self, tasks: list[Any]) -> None:
        """Queue tasks; None stands for the end."""
        for task in tasks:
            self._tasks.put(task)

    def stop(self) -> None:
        """Tell the worker that the run is to end soon."""
        self._tasks.stop()

    def take(self) -> _Answer:
        """Wait for reports or pulled tasks; the first answer comes at once, when it has started."""
        with self._changed:
            while not self._reports and self._reported_pulled == self._pulled and not self._ended:
                self._changed.wait()
            reports, self._reports = self._reports[:_BATCH], self._reports[_BATCH:]
            self._reported_pulled = self._pulled
            ended = self._ended and not self._reports
            return _Answer(reports, self._pulled, ended, self._fault)

    def _count_pulled(self) -> None:
        with self._changed:
            self._pulled += 1
            self._changed.notify()

    def _emit(self, report: Any) -> None:
        with self._changed:
            self._reports.append(report)
            self._changed.notify()

    def _run(self, blob: bytes) -> None:
        fault = None
        try:
            pickle.loads(blob)(self._tasks, self._emit)
        except BaseException as error:
            traceback.print_exc()
            fault = traceback.format_exception_only(type(error), error)[-1].strip()
        with self._changed:
            self._ended, self._fault = True, fault
            self._changed.notify()


@dataclass(slots=True)
class _ActorHandle:
    """The driver's side of an actor: the `tasks` it holds, by number, and how many it was given."""

    handle: Any
    tasks: dict[int, Any] = field(default_factory=dict)
    given: int = 0
    ended: bool = False

    def fill(self, left: PeekableTasks, pulled: int) -> None:
        """Fill the actor's queue; send the end of tasks once, when none is left."""
        tasks: list[Any] = []
        while not self.ended and self.given - pulled < QUEUED:
            task = left.take()
            tasks.append(task)
            if task is None:
                self.ended = True
                break
            self.tasks[task.shard_id] = task
            self.given += 1
        if tasks:
            self.handle.give.remote(tasks)

    def stop(self) -> None:
        """Tell the worker that the run is to end soon."""
        self.ended = True
        self.handle.stop.remote()


class RayDistributor(Session):
    """Runs a worker in up to `processes_count` actors of one CPU each, as the cluster has room.

    Args:
        processes_count: None for one a CPU of the cluster, or a GPU.
        gpus: each actor has a GPU as well, where the cluster has any.
    """

    def __init__(self, processes_count: int | None, gpus: bool = False) -> None:
        self._count = processes_count
        self._gpus = gpus
        self._connected = False
        self._started = False

    def __enter__(self) -> RayDistributor:
        if not self._connected:
            self._started = _connect(self._count)
            self._connected = True
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        if self._started:
            ray.shutdown()
        self._connected = self._started = False

    def stream(
        self, worker: Worker, tasks: Iterator[Any], stopping: Callable[[], bool] = never
    ) -> Generator[Any, None, None]:
        """See `Distributor.stream`."""
        left = PeekableTasks(tasks, stopping)
        if not left:
            return
        if self._connected:
            yield from self._stream(worker, left)
        else:
            with self:
                yield from self._stream(worker, left)

    def _stream(self, worker: Worker, left: PeekableTasks) -> Generator[Any, None, None]:
        import ray

        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0)) if self._gpus else 0
        count = self._count or gpus or max(1, int(there.get("CPU", 1)))
        # Two threads: `give` must run while `take` waits.
        remote: Any = ray.remote(
            num_cpus=1, num_gpus=1 if gpus else 0, max_restarts=0, max_concurrency=2
        )(Actor)
        blob = pickle.dumps(worker)
        actors: dict[Any, _ActorHandle] = {}
        deaths = 0
        try:
            while True:
                left.check_stop(actors.values())
                # An actor that is about to start has no task yet: one is left over for it.
                waiting = sum(not actor.given for actor in actors.values())
                for _ in range(min(count - len(actors), left.ahead(count) - waiting)):
                    handle = remote.remote(blob)
                    actors[handle.take.remote()] = _ActorHandle(handle)
                if not left:
                    _kill_idle(actors)
                if not actors:
                    return
                ready, _ = ray.wait(list(actors), num_returns=1, timeout=POLL_INTERVAL)
                for ref in ready:
                    actor = actors.pop(ref)
                    try:
                        answer: _Answer = ray.get(ref)
                    except ray.exceptions.RayActorError as error:
                        answer = _Answer([], 0, True, _death_reason(error))
                    for report in answer.reports:
                        if report.shard_id is not None:
                            actor.tasks.pop(report.shard_id, None)
                            deaths = 0
                    if answer.ended:
                        ray.kill(actor.handle, no_restart=True)
                    else:
                        # Before the reports are yielded: closing the generator must find it.
                        actors[actor.handle.take.remote()] = actor
                        actor.fill(left, answer.pulled)
                    yield from answer.reports
                    if not answer.ended or (answer.fault is None and not actor.tasks):
                        continue
                    why = answer.fault or "it ended too early"
                    deaths += 1
                    # A machine that is lost takes all of its workers with it.
                    if deaths >= MAX_DEATHS + count:
                        raise WorkersDieError(f"{deaths} workers died one after another: {why}")
                    for number in actor.tasks:
                        yield TaskLost(number, f"its worker died: {why}")
        finally:
            for actor in actors.values():
                ray.kill(actor.handle, no_restart=True)


def _kill_idle(actors: dict[Any, _ActorHandle]) -> None:
    """Kill the actors that have no task: those that the cluster has no room for."""
    import ray

    for ref in [r for r, actor in actors.items() if not actor.given]:
        ray.kill(actors.pop(ref).handle, no_restart=True)


def _connect(count: int | None) -> bool:
    """Connect to Ray, and return whether that was needed.

    Raises:
        UsageError: RAY_ADDRESS names a cluster that cannot be reached.
    """
    import ray

    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": True, "logging_level": "warning"}
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            _check_listening(address)
        ray.init(address=address or "auto", **quiet)
        return True
    except (OSError, RuntimeError, ValueError) as error:
        if address:
            words = str(error).partition("\n")[0]
            raise UsageError(f"cannot use the Ray at RAY_ADDRESS={address}: {words}") from None
    cpus = count or usable_cores()
    # For this run alone: on loopback, and without a dashboard.
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        **quiet,
    )
    return True


def _check_listening(address: str) -> None:
    """Raise OSError unless something listens there: Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT).close()


def _death_reason(error: Exception) -> str:
    """Return one line on why an actor died: Ray's errors fill a page."""
    if kind := re.search(r"exit type: (\w+)|cause: (\w+)", str(error)):
        return f"Ray says {kind[1] or kind[2]} (killed, or out of memory?)"
    return str(error).partition("\n")[0]
