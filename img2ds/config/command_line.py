"""Reads the flags of one command as they are typed; values stay strings.

The syntax is img2dataset's, which uses python-fire: `--name value`, `--name=value`, and `--name` or
`--noname` for booleans; one dash is as good as two, and `-` and `_` are the same in names. Where a
command has positions, a value without a flag is the next of them, and one letter is short for the
only one that begins with it. Besides, a list can be several arguments, as a shell makes of
`--list *`, and a value may begin with a dash where it is no flag.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from img2ds.config.flags import Flags
from img2ds.core.failure import UsageError


def read_arguments(
    command: Flags,
    arguments: Sequence[str],
    check_position: Callable[[str, str], None] | None = None,
) -> dict[str, Any]:
    """Return the flags that are given, by name.

    Args:
        check_position: called with the name and the value of each flag that is given by position;
            raises UsageError if it was not meant as that.

    Returns:
        The value as typed, a list of several values, or True or False for a bare boolean.

    Raises:
        UsageError: an argument is not a flag, or a flag has no value or is given twice.
    """
    reader = _Reader(command)
    for argument in arguments:
        reader.take(argument)
    named, placed = reader.end()
    for name, value in placed.items():
        if check_position is not None:
            check_position(name, value)
    return {**named, **placed}


class _Reader:
    """Takes one argument after another."""

    def __init__(self, command: Flags) -> None:
        self._command = command
        self._values: dict[str, Any] = {}
        self._placed: list[str] = []  # values by position
        self._waiting: str | None = None  # the flag whose value may be the next argument
        self._growing: str | None = None  # the list flag that further values may follow

    def take(self, argument: str) -> None:
        """Read one argument. Raises UsageError."""
        if self._is_flag(argument):
            self._check_has_value()
            name, value = self._split(argument)
            if name in self._values:
                raise UsageError(f"--{name} is given twice")
            self._values[name] = self._as_typed(value)
            self._waiting, self._growing = name if value is True else None, None
        elif self._waiting is not None:
            name, self._waiting = self._waiting, None
            self._values[name] = self._as_typed(argument)
            whole = argument[:1] in ("[", "(") and argument[-1] in ("]", ")")
            self._growing = name if self._kind(name) == "list" and not whole else None
        elif self._growing is not None:
            before = self._values[self._growing]
            before = before if isinstance(before, list) else [before]
            self._values[self._growing] = [*before, argument]
        elif argument.startswith("-") and argument != "-":
            raise UsageError(self._command.unknown(argument.partition("=")[0]))
        elif len(self._placed) < len(self._command.positions):
            self._placed.append(argument)
        else:
            raise self._unexpected(argument)

    def end(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the values of flags given by name, and of those given by position."""
        self._check_has_value()
        free = [name for name in self._command.positions if name not in self._values]
        if len(self._placed) > len(free):
            raise self._unexpected(self._placed[len(free)])
        placed = {n: self._as_typed(v) for n, v in zip(free, self._placed, strict=False)}
        return self._values, placed

    def _unexpected(self, argument: str) -> UsageError:
        return UsageError(
            f"unexpected argument {argument!r}; {self._command.program} --help lists the flags"
        )

    def _is_flag(self, argument: str) -> bool:
        """Return whether an argument is a flag, unknown ones included.

        With one dash, what is no flag is a value if a flag waits for one that can be anything.
        """
        if argument.startswith("--"):
            return argument != "--"
        typed, equals, _ = argument[1:].partition("=")
        if not argument.startswith("-") or not typed[:1].isalpha():
            return False
        if self._find(typed, bool(equals)) or self._short_for(typed):
            return True
        return self._waiting is not None and self._kind(self._waiting) == "bool"

    def _find(self, typed: str, has_value: bool) -> tuple[str, bool] | None:
        """Return the name of a flag, and False if it is typed as --noname; None if unknown."""
        name = self._command.name(typed)
        if name in self._command.fields:
            return name, True
        negated = name.removeprefix("no")
        if negated != name and not has_value and self._kind(negated) == "bool":
            return negated, False
        return None

    def _short_for(self, typed: str) -> list[str]:
        """Return the flags that one letter can be short for."""
        if len(typed) != 1:
            return []
        return [name for name in self._command.positions if name.startswith(typed)]

    def _split(self, argument: str) -> tuple[str, str | bool]:
        """Return a flag's name and value; True if the value is not part of the argument.

        Raises:
            UsageError: there is no such flag, or one letter is short for several.
        """
        typed, equals, value = argument.lstrip("-").partition("=")
        found = self._find(typed, bool(equals))
        if found is not None:
            name, given = found
            return name, value if equals else given
        names = self._short_for(typed)
        if len(names) == 1:
            return names[0], value if equals else True
        if names:
            several = f"--{', --'.join(names[:-1])} or --{names[-1]}"
            raise UsageError(f"-{typed} can be short for {several}: write the flag out")
        raise UsageError(self._command.unknown(typed))

    def _check_has_value(self) -> None:
        name = self._waiting
        if name is not None and self._kind(name) != "bool":
            raise UsageError(f"--{name} needs a value: --{name} VALUE")

    def _kind(self, name: str) -> str | None:
        """Return the kind of a flag's values; None if there is no such flag."""
        fields = self._command.fields
        return fields[name].metadata["kind"] if name in fields else None

    def _as_typed(self, value: Any) -> Any:
        """Return a value without quotes around it, which python-fire removes as well."""
        if not self._command.positions or not isinstance(value, str):
            return value
        if len(value) < 2 or value[0] not in "\"'" or value[-1] != value[0]:
            return value
        try:
            text = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return value
        return text if isinstance(text, str) else value
