"""Flags as they are typed: read for one command, and laid out as its help page.

fire runs a function before it complains of a flag it does not know, so names are checked first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import Field
from importlib import import_module
from typing import Any, Protocol

import fire
from fire.decorators import SetParseFn

from img2ds.config.flags import Flags, default_of, is_required
from img2ds.core.failure import UsageError

HELP = ("--help", "-h", "help")


class Result(Protocol):
    """What running a command comes to: an exit code, and what people read."""

    @property
    def exit_code(self) -> int: ...

    @property
    def text(self) -> str: ...


def load(place: str, extra: str) -> Any:
    """What `module:name` stands for; tables of commands import nothing before it is used.

    Args:
        extra: the one of `pip install 'img2ds[...]'` that brings what its module needs.

    Raises:
        UsageError: a package is not installed.
    """
    module, _, name = place.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "img2ds", "laion"):
            raise  # our own fault
        raise UsageError(
            f"this needs the package {missing}, which is not installed: "
            f"pip install 'img2ds[{extra}]'"
        ) from None


_HELP_COLUMN = 34
_HELP_WIDTH = 100


def read_arguments(
    command: Flags, arguments: Sequence[str], stray: str = "{0!r} is no flag"
) -> dict[str, Any]:
    """Flag names and their values as typed.

    Args:
        stray: the line for an argument that is no flag and no flag's value, `{0}` in it.

    Raises:
        UsageError: something is no flag, or a flag lacks its value.
    """
    arguments = [_long(command, argument) for argument in arguments]
    arguments = _gathered(command, arguments)
    _check_names(command, arguments, stray)
    found: dict[str, Any] = {}

    def collect(**flags: Any) -> None:
        found.update(flags)

    SetParseFn(str)(collect)  # values are read by the flag's kind, not by how they look

    # fire takes a lone - for a separator of calls; here it is standard input.
    fire.Fire(collect, command=[*arguments, "--", "--separator=\0"], name=command.program)
    for name, value in found.items():
        if value in ("True", "False"):
            found[name] = value == "True"
    return found


def _gathered(command: Flags, arguments: Sequence[str]) -> list[str]:
    """With `--list a b c`, as a shell makes of `--list *`, written as one value."""
    gathered: list[str] = []
    values: list[str] = []  # of the list that is being read
    for argument in [*arguments, "--"]:
        if values and not argument.startswith("--"):
            values.append(argument)
            continue
        if len(values) > 2:
            gathered[-1:] = [f"--{values[0]}={values[1:]!r}"]
        elif values:
            gathered += values[1:]
        name = command.name(argument[2:]) if argument.startswith("--") else ""
        is_list = name in command.fields and command.fields[name].metadata["kind"] == "list"
        values = [name] if is_list else []
        gathered.append(argument)
    return gathered[:-1]


def _long(command: Flags, argument: str) -> str:
    """`--k` for `-k`, where a command has a flag of one letter."""
    if argument[:1] == "-" and argument[2:3] in ("", "=") and argument[1:2] in command.fields:
        return f"-{argument}"
    return argument


def _check_names(command: Flags, arguments: Sequence[str], stray: str) -> None:
    """What fire would only complain of afterwards, or take for something else."""
    seen = set()
    waiting: str | None = None  # a flag that the next argument may be the value of
    for argument in arguments:
        if not argument.startswith("--") or argument == "--":
            if waiting is None:
                raise UsageError(
                    command.unknown(argument)
                    if argument.startswith("-")
                    else stray.format(argument)
                )
            waiting = None
            continue
        _check_value_given(command, waiting)
        typed, equals, _ = argument[2:].partition("=")
        name = command.name(typed)
        switched_off = name.removeprefix("no")
        if name not in command.fields and not equals and _is_bool(command, switched_off):
            name = switched_off
            waiting = None
        elif name not in command.fields:
            raise UsageError(command.unknown(typed))
        else:
            waiting = None if equals else name
        if name in seen:
            raise UsageError(f"--{name} is given twice")
        seen.add(name)
    _check_value_given(command, waiting)


def _is_bool(command: Flags, name: str) -> bool:
    return name in command.fields and command.fields[name].metadata["kind"] == "bool"


def _check_value_given(command: Flags, name: str | None) -> None:
    if name is not None and not _is_bool(command, name):
        raise UsageError(f"--{name} needs a value: --{name} VALUE")


def help_lines(command: Flags, names: Iterable[str]) -> list[str]:
    """What the help page says of some flags of a command."""
    return [line for name in names for line in _flag_lines(command, name)]


def _flag_lines(command: Flags, name: str) -> list[str]:
    spec = command.fields[name]
    aliases = "".join(f", --{alias}" for alias, meant in command.aliases.items() if meant == name)
    text: str = spec.metadata["help"]
    if spec.metadata["choices"]:
        text += f" [{'|'.join(spec.metadata['choices'])}]"
    head = f"  --{name}{aliases} ({_default(spec)})"
    lines = []
    words = text.split()
    line = head.ljust(_HELP_COLUMN)
    if len(head) >= _HELP_COLUMN:
        lines.append(head)
        line = " " * _HELP_COLUMN
    empty = True
    for word in words:
        if not empty and len(line) + 1 + len(word) > _HELP_WIDTH:
            lines.append(line)
            line, empty = " " * _HELP_COLUMN, True
        line += word if empty else f" {word}"
        empty = False
    return [*lines, line]


def _default(spec: Field[Any]) -> str:
    if is_required(spec):
        return "required"
    value = default_of(spec)
    if isinstance(value, tuple):
        return " ".join(value) or "none"
    if isinstance(value, dict):
        return "none"
    return str(value)
