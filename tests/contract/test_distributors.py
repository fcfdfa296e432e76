"""One suite over every distributor: each task ends once, or is reported lost."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import img2ds.engine.distributors.factory
from img2ds.core.failure import UsageError
from img2ds.engine.distributors.contract import Distributor, TaskLost, is_stopping
from img2ds.engine.distributors.factory import open_distributor
from img2ds.engine.distributors.spark import SparkDistributor


@dataclass(frozen=True)
class Number:
    shard_id: int


@dataclass(frozen=True)
class Emitted:
    shard_id: int | None
    pid: int


@dataclass(frozen=True)
class Carried:
    shard_id: int
    table: pa.Table


@dataclass(frozen=True)
class Locking:
    shard_id: int
    folder: str


# Workers are found by their names in the worker processes, hence module level.
def echo(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    for task in tasks:
        emit(Emitted(None, os.getpid()))
        emit(Emitted(task.shard_id, os.getpid()))


def overlapping(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    """Takes a second task before it ends the first."""
    held = list(islice(tasks, 2))
    for task in (*held, *tasks):
        emit(Emitted(task.shard_id, os.getpid()))


def holds_until_stopped(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    """Takes tasks as long as there are any, and ends them when there are none."""
    emit(Emitted(None, os.getpid()))
    held = []
    for task in tasks:
        held.append(task)
        if is_stopping(tasks):
            emit(Emitted(None, os.getpid()))
    for task in held:
        emit(Emitted(task.shard_id, os.getpid()))


def dies_at_three(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    for task in tasks:
        if task.shard_id == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        emit(Emitted(task.shard_id, os.getpid()))


def forgets_three(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    for task in tasks:
        if task.shard_id != 3:
            emit(Emitted(task.shard_id, os.getpid()))


def raises_at_three(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    for task in tasks:
        if task.shard_id == 3:
            raise ValueError("three is none of ours")
        emit(Emitted(task.shard_id, os.getpid()))


def counts_rows(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    for task in tasks:
        emit(Emitted(task.shard_id, task.table.num_rows))


def holds_a_lock(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    for task in tasks:
        with open(os.path.join(task.folder, str(os.getpid())), "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            emit(Emitted(task.shard_id, os.getpid()))
            signal.pause()


def names_its_gpus(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    """Those that CUDA is allowed to see: their numbers, one after the other."""
    for task in tasks:
        emit(Emitted(task.shard_id, int(os.environ.get("CUDA_VISIBLE_DEVICES") or -1)))


def always_dies(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    next(tasks)
    os._exit(7)


def numbers(count: int) -> Iterator[Number]:
    return map(Number, range(count))


def test_workers_are_told_to_stop(distributor: Distributor) -> None:
    """They get no further task, and those that they hold end once, as any other."""
    given: list[int] = []
    ended: list[int] = []
    started: list[int] = []

    def tasks() -> Iterator[Number]:
        for number in count():  # no end but the stop
            given.append(number)
            yield Number(number)

    for update in distributor.stream(holds_until_stopped, tasks(), lambda: bool(started)):
        if update.shard_id is None:
            started.append(update.pid)
        else:
            ended.append(update.shard_id)
    assert ended
    assert len(ended) == len(set(ended))
    assert set(ended) <= set(given)


@pytest.mark.parametrize("worker", [echo, overlapping])
def test_each_task_ends_once(distributor: Distributor, worker: Any) -> None:
    emitted = list(distributor.stream(worker, numbers(9)))
    assert sorted(update.shard_id for update in emitted if update.shard_id is not None) == list(
        range(9)
    )
    assert len({update.pid for update in emitted}) <= 2
    assert os.getpid() not in {update.pid for update in emitted}


def test_no_tasks_no_processes(distributor: Distributor) -> None:
    assert list(distributor.stream(echo, iter(()))) == []


def test_one_task_needs_one_process(distributor: Distributor) -> None:
    assert len({update.pid for update in distributor.stream(echo, numbers(1))}) == 1


def test_tasks_are_pulled_as_they_are_needed(distributor: Distributor) -> None:
    pulled = 0

    def endless() -> Iterator[Number]:
        nonlocal pulled
        for number in range(10**9):
            pulled += 1
            yield Number(number)

    ended = 0
    with closing(distributor.stream(echo, endless())) as emitted:
        for update in emitted:
            ended += update.shard_id is not None
            if ended == 20:
                break
    assert pulled <= 30


def test_a_process_that_dies_loses_what_it_held(
    distributor: Distributor, distributor_name: str
) -> None:
    emitted = list(distributor.stream(dies_at_three, numbers(8)))
    lost = [update for update in emitted if isinstance(update, TaskLost)]
    ended = [update.shard_id for update in emitted if isinstance(update, Emitted)]
    assert Counter([*(update.shard_id for update in lost), *ended]) == Counter(range(8))
    # An actor's last words may die with it, and tasks are queued at it.
    assert 3 in {update.shard_id for update in lost}
    assert len(lost) <= (4 if distributor_name == "ray" else 1)
    assert {update.why for update in lost} == {
        {
            "multiprocessing": "its worker died, killed by SIGKILL (out of memory?)",
            "ray": "its worker died: Ray says SYSTEM_ERROR (killed, or out of memory?)",
            "pyspark": "the connection to its worker broke (killed, or out of memory?)",
        }[distributor_name]
    }


def test_a_worker_that_raises_is_not_waited_for(distributor: Distributor) -> None:
    emitted = list(distributor.stream(raises_at_three, numbers(5)))
    ended = {update.shard_id for update in emitted if isinstance(update, Emitted)}
    assert {update.shard_id for update in emitted} == set(range(5))
    assert 3 not in ended


def test_a_task_that_a_worker_forgets_is_lost(distributor: Distributor) -> None:
    emitted = list(distributor.stream(forgets_three, numbers(5)))
    assert [update.shard_id for update in emitted if isinstance(update, TaskLost)] == [3]
    assert sorted(update.shard_id for update in emitted) == [0, 1, 2, 3, 4]


def test_workers_that_keep_dying_end_the_run(distributor: Distributor) -> None:
    with pytest.raises(RuntimeError, match=r"\d workers died one after another"):
        list(distributor.stream(always_dies, numbers(50)))


def test_a_fault_in_the_tasks_comes_out(distributor: Distributor) -> None:
    def broken() -> Iterator[Number]:
        yield Number(0)
        raise OSError("the list is gone")

    with pytest.raises(OSError, match="the list is gone"):
        list(distributor.stream(echo, broken()))


def test_tables_are_carried(distributor: Distributor) -> None:
    tables = [Carried(n, pa.table({"url": [f"http://h/{n}/{row}" for row in range(10_000)]}))
              for n in range(6)]  # fmt: skip
    emitted = list(distributor.stream(counts_rows, iter(tables)))
    assert sorted((update.shard_id, update.pid) for update in emitted) == [
        (n, 10_000) for n in range(6)
    ]


def test_closing_early_leaves_no_worker(distributor: Distributor, tmp_path: Path) -> None:
    """A worker holds a lock on a file for as long as it lives."""
    pulled = []

    def endless() -> Iterator[Locking]:
        for number in range(10**9):
            pulled.append(number)
            yield Locking(number, str(tmp_path))

    with closing(distributor.stream(holds_a_lock, endless())) as emitted:
        updates = list(islice(emitted, 2))
    assert {update.shard_id for update in updates} <= {0, 1, 2, 3}
    for path in tmp_path.iterdir():
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # waits for the end of the worker
    assert list(distributor.stream(echo, numbers(1)))  # and the cluster is there for the next


def test_an_unknown_distributor() -> None:
    with pytest.raises(UsageError, match="--distributor is one of multiprocessing, pyspark, ray"):
        open_distributor("dask", 1)


@pytest.mark.parametrize(("name", "extra"), [("ray", "ray"), ("pyspark", "spark")])
def test_a_missing_package_is_named(name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(img2ds.engine.distributors.factory, "find_spec", lambda package: None)
    with pytest.raises(UsageError, match=rf"pip install 'img2ds\[{extra}\]'"):
        open_distributor(name, 1)


def test_spark_jobs_of_few_tasks(spark_master: str) -> None:
    """More jobs than one, each of `subjob_size` tasks, and none is lost between them."""
    emitted = list(SparkDistributor(2, subjob_size=3).stream(echo, numbers(10)))
    ended = [update.shard_id for update in emitted if update.shard_id is not None]
    assert sorted(ended) == list(range(10))


def test_rays_workers_have_the_gpus_that_they_ask_for(ray_address: str) -> None:
    """One each; none where none was asked for."""
    emitted = list(open_distributor("ray", None, gpus=True).stream(names_its_gpus, numbers(12)))
    assert {update.pid for update in emitted} <= {0, 1}
    emitted = list(open_distributor("ray", 1).stream(names_its_gpus, numbers(2)))
    assert {update.pid for update in emitted} == {-1}


def listening_here() -> Iterator[int]:
    """TCP ports that this very process listens on; columns as in proc(5), /proc/net/tcp."""
    ours = {os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in ours:
            yield int(fields[1].partition(":")[2], 16)


def test_unauthenticated_clients_are_rejected(spark_master: str) -> None:
    """A client without the key gets no task and disturbs no worker."""
    answers: list[bytes] = []

    def tasks() -> Iterator[Number]:
        yield Number(0)
        ports = listening_here()
        for port in ports:
            with socket.create_connection(("127.0.0.1", port), 1) as client:
                client.settimeout(0.2)
                with suppress(OSError):
                    answers.append(client.recv(1000))
                    if b"#CHALLENGE#" in answers[-1]:
                        client.sendall(b"\0\0\0\x20" + b"x" * 32)
                        answers.append(client.recv(1000))
        yield from map(Number, range(1, 6))

    emitted = list(SparkDistributor(2, 1000).stream(echo, tasks()))
    assert sorted(w.shard_id for w in emitted if w.shard_id is not None) == list(range(6))
    assert any(b"#CHALLENGE#" in answer for answer in answers)
    assert not any(b"Number" in answer or b"echo" in answer for answer in answers)


def test_a_worker_that_is_being_born_leaves_signals_to_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C reaches the whole group, and Python takes a second to import a worker's modules."""

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            for number in (signal.SIGINT, signal.SIGTERM):
                self.send_signal(number)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    emitted = list(open_distributor("multiprocessing", 1).stream(echo, numbers(2)))
    assert not [update for update in emitted if isinstance(update, TaskLost)]
    assert [update.shard_id for update in emitted if update.shard_id is not None] == [0, 1]
