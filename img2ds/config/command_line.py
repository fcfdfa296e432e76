"""Reads the flags of one command as they are typed; values stay strings.

The syntax is img2dataset's, which uses python-fire: `--name value`, `--name=value`, and `--name` or
`--noname` for booleans. Besides, `-` and `_` are the same in names, a flag of one letter can have
one dash, and a list can be several arguments, as a shell makes of `--list *`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from img2ds.config.flags import Flags
from img2ds.core.failure import UsageError


def read_arguments(
    command: Flags, arguments: Sequence[str], suggest: Callable[[str], str] | None = None
) -> dict[str, Any]:
    """Return the flags that are given, by name.

    Args:
        suggest: given an argument that is neither a flag nor a flag's value, returns a hint.

    Returns:
        The value as typed, a list of several values, or True or False for a bare boolean.

    Raises:
        UsageError: an argument is not a flag, or a flag has no value or is given twice.
    """
    values: dict[str, Any] = {}
    waiting: str | None = None  # the flag whose value may be the next argument
    growing: str | None = None  # the list flag that further values may follow
    for argument in arguments:
        if _is_flag(command, argument):
            _check_has_value(command, waiting)
            name, value = _split(command, argument)
            if name in values:
                raise UsageError(f"--{name} is given twice")
            values[name] = value
            waiting, growing = name if value is True else None, None
        elif waiting is not None:
            values[waiting] = argument
            growing = waiting if _kind(command, waiting) == "list" else None
            waiting = None
        elif growing is not None:
            before = values[growing]
            values[growing] = [*(before if isinstance(before, list) else [before]), argument]
        elif argument.startswith("-") and argument != "-":
            raise UsageError(command.unknown(argument))
        else:
            hint = suggest(argument) if suggest else f"{command.program} --help lists the flags"
            raise UsageError(f"unexpected argument {argument!r}; {hint}")
    _check_has_value(command, waiting)
    return values


def _is_flag(command: Flags, argument: str) -> bool:
    """Return whether an argument has the form of a flag. Other single dashes may begin values."""
    if argument.startswith("--"):
        return argument != "--"
    letter, equals = argument[1:2], argument[2:3]
    return argument.startswith("-") and letter in command.fields and equals in ("", "=")


def _split(command: Flags, argument: str) -> tuple[str, str | bool]:
    """Return a flag's name and value; True if the value is not part of the argument.

    Raises:
        UsageError: there is no such flag.
    """
    typed, equals, value = argument.lstrip("-").partition("=")
    name = command.name(typed)
    if name in command.fields:
        return name, value if equals else True
    negated = name.removeprefix("no")
    if not equals and _kind(command, negated) == "bool":
        return negated, False
    raise UsageError(command.unknown(typed))


def _check_has_value(command: Flags, name: str | None) -> None:
    if name is not None and _kind(command, name) != "bool":
        raise UsageError(f"--{name} needs a value: --{name} VALUE")


def _kind(command: Flags, name: str) -> str | None:
    """Return the kind of a flag's values; None if there is no such flag."""
    return command.fields[name].metadata["kind"] if name in command.fields else None
