"""Modules that a worker process of the local distributor does not load."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from img2ds.engine.distributors.factory import open_distributor


@dataclass(frozen=True)
class Task:
    shard_id: int


@dataclass(frozen=True)
class Loaded:
    shard_id: int
    by_arrow: bool
    interrupted: bool


def load(tasks: Iterator[Any], emit: Callable[[Any], None]) -> None:
    for task in tasks:
        pa.array(["a list"])
        by_arrow = "pandas" in sys.modules
        importlib.import_module("pandas")  # the test's own, an empty one
        emit(Loaded(task.shard_id, by_arrow, "pandas" in sys.modules))


def test_arrow_does_not_load_pandas_and_others_still_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pandas.py").write_text("__version__ = '9.0'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ":".join(map(str, (tmp_path, Path(__file__).parents[2]))))
    distributor = open_distributor("multiprocessing", 1)
    with closing(distributor.stream(load, iter([Task(0)]))) as reports:
        assert list(reports) == [Loaded(0, by_arrow=False, interrupted=True)]
