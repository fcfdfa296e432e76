"""One suite over every distributor: each task ends once, or is said to be lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pytest

from img2ds.distributor import Distributor, TaskLost, open_distributor
from img2ds.distributors.local import MAX_DEATHS
from img2ds.outcome import UsageError


@dataclass(frozen=True)
class Number:
    shard_id: int


@dataclass(frozen=True)
class Said:
    shard_id: int | None
    pid: int


# Workers are found by their names in the worker processes, hence module level.
def echo(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    for task in tasks:
        emit(Said(None, os.getpid()))
        emit(Said(task.shard_id, os.getpid()))


def overlapping(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    """Takes a second task before it ends the first."""
    held = list(islice(tasks, 2))
    for task in (*held, *tasks):
        emit(Said(task.shard_id, os.getpid()))


def dies_at_three(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    for task in tasks:
        if task.shard_id == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        emit(Said(task.shard_id, os.getpid()))


def forgets_three(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    for task in tasks:
        if task.shard_id != 3:
            emit(Said(task.shard_id, os.getpid()))


def always_dies(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    next(tasks)
    os._exit(7)


@pytest.fixture(params=["multiprocessing"])
def distributor(request: pytest.FixtureRequest) -> Distributor:
    return open_distributor(request.param, 2)


def numbers(count: int) -> Iterator[Number]:
    return map(Number, range(count))


@pytest.mark.parametrize("worker", [echo, overlapping])
def test_each_task_ends_once(distributor: Distributor, worker: Any) -> None:
    said = list(distributor.stream(worker, numbers(9)))
    assert sorted(word.shard_id for word in said if word.shard_id is not None) == list(range(9))
    assert len({word.pid for word in said}) <= 2
    assert os.getpid() not in {word.pid for word in said}


def test_no_tasks_no_processes(distributor: Distributor) -> None:
    assert list(distributor.stream(echo, iter(()))) == []


def test_one_task_needs_one_process(distributor: Distributor) -> None:
    assert len({word.pid for word in distributor.stream(echo, numbers(1))}) == 1


def test_tasks_are_pulled_as_they_are_needed(distributor: Distributor) -> None:
    pulled = 0

    def endless() -> Iterator[Number]:
        nonlocal pulled
        for number in range(10**9):
            pulled += 1
            yield Number(number)

    ended = 0
    with closing(distributor.stream(echo, endless())) as said:
        for word in said:
            ended += word.shard_id is not None
            if ended == 20:
                break
    assert pulled <= 30


def test_a_process_that_dies_loses_what_it_held(distributor: Distributor) -> None:
    said = list(distributor.stream(dies_at_three, numbers(8)))
    lost = [word for word in said if isinstance(word, TaskLost)]
    ended = [word.shard_id for word in said if isinstance(word, Said)]
    assert [word.shard_id for word in lost] == [3]
    assert "killed by SIGKILL" in lost[0].why
    assert set(ended) == {0, 1, 2, 4, 5, 6, 7}
    assert len(ended) == 7


def test_a_task_that_a_worker_forgets_is_lost(distributor: Distributor) -> None:
    said = list(distributor.stream(forgets_three, numbers(5)))
    assert [word.shard_id for word in said if isinstance(word, TaskLost)] == [3]
    assert sorted(word.shard_id for word in said) == [0, 1, 2, 3, 4]


def test_workers_that_die_again_and_again_end_the_run(distributor: Distributor) -> None:
    with pytest.raises(RuntimeError, match=f"{MAX_DEATHS} workers died.*exit code 7"):
        list(distributor.stream(always_dies, numbers(50)))


def test_a_fault_in_the_tasks_comes_out(distributor: Distributor) -> None:
    def broken() -> Iterator[Number]:
        yield Number(0)
        raise OSError("the list is gone")

    with pytest.raises(OSError, match="the list is gone"):
        list(distributor.stream(echo, broken()))


def test_those_not_built_are_refused() -> None:
    with pytest.raises(UsageError, match="not built yet"):
        open_distributor("ray", 1)
