"""The switch for compiled extensions."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest

from img2ds.core import native
from img2ds.image import native as image_native
from laion.dedup import native as dedup_native
from laion.wat import native as wat_native


@pytest.mark.parametrize(
    ("value", "enabled"),
    [(None, True), ("", True), ("1", True), ("0", False), (" 0 ", False), ("False", False),
     ("no", False), ("off", False)],
)  # fmt: skip
def test_the_switch(value: str | None, enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(native.SWITCH, raising=False)
    if value is not None:
        monkeypatch.setenv(native.SWITCH, value)
    assert native.is_enabled() is enabled


@pytest.mark.parametrize("package", [image_native, dedup_native, wat_native])
def test_loaded_names_what_is_built_and_not_turned_off(
    package: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = package.__name__
    monkeypatch.setenv(native.SWITCH, "1")
    built = [each for each in package.EXTENSIONS if find_spec(f"{name}._{each}")]
    assert package.loaded() == built == sorted(built)
    monkeypatch.setenv(native.SWITCH, "0")
    assert package.loaded() == []
    assert package.load(package.EXTENSIONS[0]) is None


def test_an_extension_that_is_not_built_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.SWITCH, "1")
    assert image_native.load("missing") is None


def test_turned_off_no_extension_is_in_the_process() -> None:
    program = (
        "import sys, img2ds.image.transform, laion.wat.stage, laion.dedup.stage\n"
        "print([n for n in sys.modules if '.native._' in n])"
    )
    environment = {**os.environ, native.SWITCH: "0"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not image_native.loaded(), reason="there are none")
def test_an_extension_of_another_interface_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one that was built before the sources were updated."""
    name = image_native.loaded()[0]
    monkeypatch.setitem(image_native.INTERFACES, name, 99)
    assert image_native.load(name) is None
    assert name not in image_native.loaded()
