"""Plug-ins as objects: what they are called, and how they reach other processes."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from img2ds.core.failure import UsageError
from img2ds.core.plugin_object import Plugin, plugin_of, reference_of, reference_to

ROOT = Path(__file__).parents[2]


def keep(image: Any, row: Any) -> bool:
    return True


class Least:
    def __init__(self, side: int = 0) -> None:
        self.side = side

    def __call__(self, image: Any, row: Any) -> bool:
        return bool(image.width >= self.side)

    def __repr__(self) -> str:
        return f"Least({self.side})"


LEAST = Least(5)


def test_objects_of_modules_are_passed_by_name() -> None:
    assert plugin_of("filter", keep) == Plugin("filter", f"{__name__}:keep")
    assert plugin_of("filter", LEAST) == Plugin("filter", f"{__name__}:LEAST")
    assert plugin_of("filter", Least).load() is Least
    assert plugin_of("filter", f"{__name__}:keep").load() is keep
    assert plugin_of("filter", keep).label == "keep"


def test_a_class_is_set_up_once_for_each_process() -> None:
    assert repr(plugin_of("filter", Least).set_up()) == "Least(0)"
    assert plugin_of("filter", keep).set_up() is keep


def test_other_objects_are_pickled() -> None:
    side = 7
    plugin = plugin_of("filter", lambda image, row: image.width > side)
    assert plugin.pickled is not None
    copy: Plugin = pickle.loads(pickle.dumps(plugin))
    assert copy == plugin
    assert copy.load()(Least(7), {}) if False else callable(copy.load())
    assert plugin.label == "<lambda>"
    assert plugin_of("filter", Least(9)).name == f"{__name__}:Least Least(9)"


def test_names_tell_functions_apart_by_what_they_do() -> None:
    def wider(side: int) -> Any:
        return lambda image, row: image.width > side

    one, same, other = (plugin_of("filter", wider(side)).name for side in (1, 1, 2))
    assert one == same
    assert one != other
    by_part = [plugin_of("filter", functools.partial(wider(1), n)).name for n in (1, 1, 2)]
    assert by_part[0] == by_part[1] != by_part[2]


def test_the_name_of_a_function_of_a_script_is_the_same_in_every_run(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from img2ds.core.plugin_object import plugin_of\n"
        "def keep(image, row):\n    return row['url'] in {'a', 'b', 'c'}\n"
        "print(plugin_of('filter', keep).name)\n"
    )
    names = {
        subprocess.run(
            [sys.executable, str(script)], cwd=ROOT, env={"PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(names) == 1
    assert names.pop().startswith("__main__:keep#")


def test_what_cannot_be_pickled_is_refused_in_one_line() -> None:
    lock = threading.Lock()
    with pytest.raises(UsageError, match="cannot be passed to worker processes") as caught:
        plugin_of("filter", lambda image, row: lock.locked())
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="--transform: 5 cannot be called"):
        plugin_of("transform", 5)


def test_formats_need_a_name() -> None:
    assert reference_of("output_format", LEAST) == f"{__name__}:LEAST"
    assert reference_to(Least(5)) is None
    with pytest.raises(UsageError, match="not an object of a module"):
        reference_of("output_format", Least(5))
