"""Long-lived actors on a Ray cluster, two tasks queued at each beside those it works on.

Ray is imported here alone. A Ray that is connected already, the one that RAY_ADDRESS names, or
one that runs on this machine is used; else one is started here and ended with the run.
"""

from __future__ import annotations

import os
import pickle
import queue
import re
import socket
import threading
import traceback
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.engine.cores import usable_cores
from img2ds.engine.distributors.contract import Session, TaskLost, Worker
from img2ds.engine.distributors.worker_channel import MAX_DEATHS, POLL_INTERVAL, PeekableTasks

#: Tasks that wait at an actor, so that it never waits for the driver.
QUEUED = 2
#: Seconds that a cluster may take to answer.
KNOCK = 10.0
#: Reports that one answer of an actor holds at most.
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of an actor since its last answer.

    Attributes:
        pulled: tasks that its worker has taken so far, of all that were given.
        ended: the worker has returned.
        fault: why it could not, the last line of its traceback.
    """

    reports: list[Any]
    pulled: int
    ended: bool = False
    fault: str | None = None


class Actor:
    """One worker in a process of its own; its tasks come and its reports go by method calls."""

    def __init__(self, worker: bytes) -> None:
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._news = threading.Condition()
        self._reports: list[Any] = []
        self._pulled = 0
        self._told = -1
        self._ended = False
        self._fault: str | None = None
        threading.Thread(target=self._run, args=(worker,), daemon=True).start()

    def give(self, tasks: list[Any]) -> None:
        """Queue tasks; None stands for the end."""
        for task in tasks:
            self._inbox.put(task)

    def take(self) -> _Answer:
        """Wait for news. The first answer comes at once: the actor is there."""
        with self._news:
            while not self._reports and self._told == self._pulled and not self._ended:
                self._news.wait()
            reports, self._reports = self._reports[:_BATCH], self._reports[_BATCH:]
            self._told = self._pulled
            ended = self._ended and not self._reports
            return _Answer(reports, self._pulled, ended, self._fault)

    def _tasks(self) -> Iterator[Any]:
        while True:
            task = self._inbox.get()
            if task is None:
                return
            with self._news:
                self._pulled += 1
                self._news.notify()
            yield task

    def _emit(self, report: Any) -> None:
        with self._news:
            self._reports.append(report)
            self._news.notify()

    def _run(self, blob: bytes) -> None:
        fault = None
        try:
            pickle.loads(blob)(self._tasks(), self._emit)
        except BaseException as error:
            traceback.print_exc()
            fault = traceback.format_exception_only(type(error), error)[-1].strip()
        with self._news:
            self._ended, self._fault = True, fault
            self._news.notify()


@dataclass(slots=True)
class _Member:
    """The driver's side of an actor: `tasks` it holds by number, and how many it was given."""

    handle: Any
    tasks: dict[int, Any] = field(default_factory=dict)
    given: int = 0
    ended: bool = False

    def supply(self, supply: PeekableTasks, pulled: int) -> None:
        """Fill the actor's queue up; tell it once when there is nothing left."""
        tasks: list[Any] = []
        while not self.ended and self.given - pulled < QUEUED:
            task = supply.take()
            tasks.append(task)
            if task is None:
                self.ended = True
                break
            self.tasks[task.shard_id] = task
            self.given += 1
        if tasks:
            self.handle.give.remote(tasks)


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

    def stream(self, worker: Worker, tasks: Iterator[Any]) -> Generator[Any, None, None]:
        """See `Distributor.stream`."""
        supply = PeekableTasks(tasks)
        if not supply:
            return
        if self._connected:
            yield from self._stream(worker, supply)
        else:
            with self:
                yield from self._stream(worker, supply)

    def _stream(self, worker: Worker, supply: PeekableTasks) -> Generator[Any, None, None]:
        import ray

        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0)) if self._gpus else 0
        count = self._count or gpus or max(1, int(there.get("CPU", 1)))
        # Two threads: `give` has to come through while `take` waits.
        remote: Any = ray.remote(
            num_cpus=1, num_gpus=1 if gpus else 0, max_restarts=0, max_concurrency=2
        )(Actor)
        blob = pickle.dumps(worker)
        members: dict[Any, _Member] = {}
        deaths = 0
        try:
            while True:
                # One that is about to start has no task yet; each is worth one that is left.
                waiting = sum(not member.given for member in members.values())
                for _ in range(min(count - len(members), supply.ahead(count) - waiting)):
                    handle = remote.remote(blob)
                    members[handle.take.remote()] = _Member(handle)
                if not supply:
                    # Those that the cluster has no room for are not needed any more.
                    for ref in [r for r, member in members.items() if not member.given]:
                        ray.kill(members.pop(ref).handle, no_restart=True)
                if not members:
                    return
                ready, _ = ray.wait(list(members), num_returns=1, timeout=POLL_INTERVAL)
                for ref in ready:
                    member = members.pop(ref)
                    try:
                        answer: _Answer = ray.get(ref)
                    except ray.exceptions.RayActorError as error:
                        answer = _Answer([], 0, True, _said(error))
                    for report in answer.reports:
                        if report.shard_id is not None:
                            member.tasks.pop(report.shard_id, None)
                            deaths = 0
                    if answer.ended:
                        ray.kill(member.handle, no_restart=True)
                    else:
                        # Before anyone looks at the reports: closing us must find it.
                        members[member.handle.take.remote()] = member
                        member.supply(supply, answer.pulled)
                    yield from answer.reports
                    if not answer.ended or (answer.fault is None and not member.tasks):
                        continue
                    why = answer.fault or "it ended too early"
                    deaths += 1
                    if deaths >= MAX_DEATHS:
                        raise RuntimeError(f"{deaths} workers died one after another: {why}")
                    for number in member.tasks:
                        yield TaskLost(number, f"its worker died: {why}")
        finally:
            for member in members.values():
                ray.kill(member.handle, no_restart=True)


def _connect(count: int | None) -> bool:
    """Connect to Ray; whether it was this that did.

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
            _knock(address)
        ray.init(address=address or "auto", **quiet)
        return True
    except (OSError, RuntimeError, ValueError) as error:
        if address:
            words = str(error).partition("\n")[0]
            raise UsageError(f"cannot use the Ray at RAY_ADDRESS={address}: {words}") from None
    cpus = count or usable_cores()
    # Nobody else is meant to use it: on loopback, and no dashboard.
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        **quiet,
    )
    return True


def _knock(address: str) -> None:
    """Whether somebody listens there: Ray itself would try for minutes. Raises OSError."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), KNOCK).close()


def _said(error: Exception) -> str:
    """Why an actor died, in a line: Ray's errors fill a page."""
    if kind := re.search(r"exit type: (\w+)|cause: (\w+)", str(error)):
        return f"Ray says {kind[1] or kind[2]} (killed, or out of memory?)"
    return str(error).partition("\n")[0]
