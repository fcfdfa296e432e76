"""Stages in this process, so that a test can end them between any two steps."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from img2ds.engine.distributors.contract import Session, Worker


class Killed(BaseException):
    """Stands for the process' end: nothing catches it."""


class Inline(Session):
    """A distributor that runs the worker in this process."""

    spans_machines = False

    def stream(
        self, worker: Worker, tasks: Iterator[Any], stopping: object = None
    ) -> Generator[Any, None, None]:
        reports: list[Any] = []
        worker(tasks, reports.append)
        yield from reports
