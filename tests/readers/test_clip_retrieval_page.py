"""docs/from-clip-retrieval.md has every command and flag of an installed clip-retrieval."""

from __future__ import annotations

import ast
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/from-clip-retrieval.md"
#: Its commands: the heading of their flags, the module, the function.
COMMANDS = {
    "Flags of inference": ("clip_inference/main.py", "main"),
    "Flags of index": ("clip_index.py", "clip_index"),
    "Flags of back": ("clip_back.py", "clip_back"),
    "Flags of filter": ("clip_filter.py", "clip_filter"),
    "Flags of end2end": ("clip_end2end.py", "clip_end2end"),
    "The page": ("clip_front.py", "clip_front"),
}


def installed() -> Path:
    try:
        return Path(str(distribution("clip-retrieval").locate_file("clip_retrieval")))
    except PackageNotFoundError:
        pytest.skip("clip-retrieval is not installed: make compat")


def section(heading: str) -> str:
    return PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("heading", COMMANDS)
def test_every_flag_is_on_the_page(heading: str) -> None:
    module, name = COMMANDS[heading]
    tree = ast.parse((installed() / module).read_text())
    (function,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
    text = section(heading)
    for flag in (argument.arg for argument in function.args.args):
        known = f"`--{flag}" in text or f"`{flag}`" in text
        assert known or (flag.startswith("slurm_") and "`--slurm_*`" in text), flag


def test_every_command_is_on_the_page() -> None:
    tree = ast.parse((installed() / "cli.py").read_text())
    (commands,) = (node for node in ast.walk(tree) if isinstance(node, ast.Dict))
    names = [str(key.value) for key in commands.keys if isinstance(key, ast.Constant)]
    assert len(names) >= 10
    for name in names:
        assert f"`{name}`" in section("Commands"), name
