"""Help pages: a flag's name, default and help text in aligned columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import Field
from typing import Any

from img2ds.config.flags import Flags, default_of, is_required

#: Arguments that ask for a help page.
HELP = ("--help", "-h", "help")

#: Columns of a help page: where help texts start, and where they end.
_TEXT, _WIDTH = 34, 100


def help_lines(command: Flags, names: Iterable[str]) -> list[str]:
    """Return the lines of the help page for some flags of a command."""
    return [line for name in names for line in _flag_lines(command, name)]


def _flag_lines(command: Flags, name: str) -> list[str]:
    spec = command.fields[name]
    aliases = "".join(f", --{alias}" for alias, flag in command.aliases.items() if flag == name)
    text: str = spec.metadata["help"]
    if spec.metadata["choices"]:
        choices = "|".join(spec.metadata["choices"])
        if len(choices) > _WIDTH - _TEXT - 2:  # can be broken into lines
            choices = choices.replace("|", " | ")
        text += f" [{choices}]"
    head = f"  --{name}{aliases} ({_default(spec)})".ljust(_TEXT)
    lines = textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=" " * _TEXT,
        subsequent_indent=" " * _TEXT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    if len(head) > _TEXT or head[-1] != " ":
        return [head, *lines]
    return [head + lines[0][_TEXT:], *lines[1:]]


def _default(spec: Field[Any]) -> str:
    if is_required(spec):
        return "required"
    value = default_of(spec)
    if isinstance(value, tuple):
        return " ".join(value) or "none"
    if isinstance(value, dict):
        return "none"
    return str(value)
