"""Every parameter of img2dataset is a flag here, and stands on the page of what differs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmark import peer
from img2ds.config.flags import default_of, is_required
from img2ds.config.options import FLAGS
from img2ds.config.positions import POSITIONS
from tests.compat.signature import Parameter, installed, recorded

PAGE = Path(__file__).parents[2] / "docs" / "from-img2dataset.md"
VERSION, PARAMETERS, ADDED = recorded()


def rows() -> dict[str, list[str]]:
    """The cells of the page's table of flags, by the flag's name."""
    found: dict[str, list[str]] = {}
    for line in PAGE.read_text().splitlines():
        if match := re.match(r"\| `--(\w+)` \|", line):
            assert match[1] not in found, f"--{match[1]} has two rows"
            found[match[1]] = [cell.strip() for cell in line.strip("|").split(" | ")]
    return found


def shown(default: Any) -> str:
    """A default as the page shows it."""
    if default is None or default == ():
        return "none"
    if isinstance(default, (tuple, list)):
        return " ".join(f"`{value}`" for value in default)
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def test_the_record_is_of_the_version_that_benchmarks_compare_with() -> None:
    assert peer.VERSION == VERSION


def test_the_record_is_that_of_an_installed_one() -> None:
    found = list(peer.HOME.glob("lib/python*/site-packages/img2dataset/main.py"))
    if not found:
        pytest.skip("python -m benchmark.peer installs img2dataset")
    assert peer.version(peer.HOME) == VERSION
    assert installed(found[0]) == PARAMETERS


def test_positions_are_its_parameters_in_its_order() -> None:
    assert [*(p.name for p in PARAMETERS), *ADDED] == list(POSITIONS)
    assert set(POSITIONS) <= set(FLAGS)


def test_required_flags_are_the_same() -> None:
    for parameter in PARAMETERS:
        assert parameter.required == is_required(FLAGS[parameter.name]), parameter.name


@pytest.mark.parametrize("name", [*(p.name for p in PARAMETERS), *ADDED])
def test_the_page_has_the_flag(name: str) -> None:
    assert name in rows(), f"docs/from-img2dataset.md has no row for --{name}"


def test_the_page_has_no_other_flags() -> None:
    assert list(rows()) == list(POSITIONS)


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: str(p.name))
def test_the_page_has_both_defaults(parameter: Parameter) -> None:
    _, there, here, text = rows()[parameter.name]
    assert there == ("required" if parameter.required else shown(parameter.default))
    spec = FLAGS[parameter.name]
    ours = "required" if is_required(spec) else shown(default_of(spec))
    assert here == ("=" if ours == there else ours)
    assert text
    if here != "=":
        assert not text.startswith("same")
