"""How flags are typed: names, booleans, lists, and what is not a flag."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import Any

import pytest

from img2ds.config.command_line import read_arguments
from img2ds.config.flags import Flags, flag
from img2ds.config.help import help_lines
from img2ds.core.failure import UsageError


@dataclass
class Group:
    name: str = flag(MISSING, "str", "a name")
    notes: str | None = flag(None, "str?", "notes")
    k: int = flag(1, "int", "how many")
    fast: bool = flag(False, "bool", "be fast")
    files: tuple[str, ...] = flag((), "list", "files")
    no_cache: bool = flag(False, "bool", "leave the cache alone")


COMMAND = Flags("tool", Flags.of("tool", Group).fields, {"label": "name"})


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ([], {}),
        (["--name", "x"], {"name": "x"}),
        (["--name=x=y"], {"name": "x=y"}),
        (["--name="], {"name": ""}),
        (["--name", ""], {"name": ""}),
        (["--label", "x"], {"name": "x"}),
        (["--name", "-"], {"name": "-"}),
        (["--name", "-x"], {"name": "-x"}),
        (["--k", "-5"], {"k": "-5"}),
        (["-k", "5"], {"k": "5"}),
        (["-k=5"], {"k": "5"}),
        (["--fast"], {"fast": True}),
        (["--nofast"], {"fast": False}),
        (["--fast", "False"], {"fast": "False"}),
        (["--fast=no", "--k", "2"], {"fast": "no", "k": "2"}),
        (["--fast", "--name", "True"], {"fast": True, "name": "True"}),
        (["--no-cache"], {"no_cache": True}),
        (["--files", "a"], {"files": "a"}),
        (["--files", "a,b"], {"files": "a,b"}),
        (["--files", "a", "b", "c", "--k", "1"], {"files": ["a", "b", "c"], "k": "1"}),
        (["--k", "1", "--files", "a", "-b"], {"k": "1", "files": ["a", "-b"]}),
    ],
)
def test_flags_are_read_as_typed(arguments: list[str], values: dict[str, Any]) -> None:
    assert read_arguments(COMMAND, arguments) == values


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x"], "unexpected argument 'x'; tool --help lists the flags"),
        (["-"], "unexpected argument '-'; tool --help lists the flags"),
        (["--fast", "False", "x"], "unexpected argument 'x'; tool --help lists the flags"),
        (["--files=a", "b"], "unexpected argument 'b'; tool --help lists the flags"),
        (["-x"], "unknown flag --x; tool --help lists the flags"),
        (["--nmae", "x"], "unknown flag --nmae; did you mean --name?"),
        (["--nonotes"], "unknown flag --nonotes; did you mean --notes?"),
        (["--nofast=1"], "unknown flag --nofast; did you mean --fast?"),
        (["--name"], "--name needs a value: --name VALUE"),
        (["--name", "--k", "1"], "--name needs a value: --name VALUE"),
        (["--files", "--fast"], "--files needs a value: --files VALUE"),
        (["--name", "x", "--label", "y"], "--name is given twice"),
        (["--fast", "--nofast"], "--fast is given twice"),
    ],
)
def test_mistakes(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_arguments(COMMAND, arguments)
    assert str(caught.value) == message


PLACED = Flags("tool", COMMAND.fields, COMMAND.aliases, ("name", "notes", "k", "files"))


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["x"], {"name": "x"}),
        (["-"], {"name": "-"}),
        (["x", "y", "3"], {"name": "x", "notes": "y", "k": "3"}),
        (["--notes", "y", "x", "3"], {"name": "x", "notes": "y", "k": "3"}),
        (["x", "--fast", "-k", "3", "--nofast"], "--fast is given twice"),
        (["x", "-f", "a"], {"name": "x", "files": "a"}),
        (["x", "--f=a"], {"name": "x", "files": "a"}),
        (["-name", "x", "-nofast"], {"name": "x", "fast": False}),
        (["-name=x", "-no-cache"], {"name": "x", "no_cache": True}),
        (["-n", "x"], "-n can be short for --name or --notes: write the flag out"),
        (["--files", "[a,b]", "x"], {"name": "x", "files": "[a,b]"}),
        (["--files", "[a,", "b]"], {"files": ["[a,", "b]"]}),
        (["'x'", "--notes", '"a b"'], {"name": "x", "notes": "a b"}),
        (["'x", "--notes", "it's"], {"name": "'x", "notes": "it's"}),
        (["--name", "-x", "--notes", "-k"], "--notes needs a value: --notes VALUE"),
        (["x", "--fast", "-x"], "unknown flag --x; tool --help lists the flags"),
        (["a", "b", "1", "[]", "c"], "unexpected argument 'c'; tool --help lists the flags"),
        (["a", "b", "--k", "1", "[]", "c"], "unexpected argument 'c'; tool --help lists the flags"),
    ],
)  # fmt: skip
def test_flags_by_position_and_by_letter(
    arguments: list[str], values: dict[str, Any] | str
) -> None:
    if isinstance(values, str):
        with pytest.raises(UsageError) as caught:
            read_arguments(PLACED, arguments)
        assert str(caught.value) == values
    else:
        assert read_arguments(PLACED, arguments) == values


def test_positions_can_be_checked() -> None:
    seen: dict[str, str] = {}
    read_arguments(PLACED, ["--name", "x", "y", "3"], seen.__setitem__)
    assert seen == {"notes": "y", "k": "3"}


def test_help_lines_are_aligned_and_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")

    @dataclass
    class Wide:
        short: int = flag(1, "int", "text " * 20)
        exactly_as_wide_as_thes: str = flag("abc", "str", "text")
        wider_than_the_column_of_names: tuple[str, ...] = flag((), "list", "text")

    lines = help_lines(Flags.of("tool", Wide), Flags.of("tool", Wide).fields)
    margin = " " * 34
    assert lines == [
        "  --short (1)".ljust(34) + " ".join(["text"] * 13),
        margin + " ".join(["text"] * 7),
        "  --exactly_as_wide_as_thes (abc)".ljust(34) + "text",
        "  --wider_than_the_column_of_names (none)",
        margin + "text",
    ]
