"""Help pages: a flag's name, default and help text in aligned columns."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import Field
from typing import Any

from img2ds.config.flags import Flags, default_of, is_required

#: Arguments that ask for a help page.
HELP = ("--help", "-h", "help")

#: Columns of a help page: where help texts start, and between which limits they end.
_TEXT, _LEAST, _MOST = 34, 60, 100


def page_width() -> int:
    """Return the columns that a page for people takes: the terminal's, within limits."""
    return max(_LEAST, min(shutil.get_terminal_size((_MOST, 24)).columns, _MOST))


def help_lines(command: Flags, names: Iterable[str]) -> list[str]:
    """Return the lines of the help page for some flags of a command, required ones first."""
    ordered = sorted(names, key=lambda name: not is_required(command.fields[name]))
    return [line for name in ordered for line in _flag_lines(command, name)]


def wrapped(text: str, indent: str = "", first: str = "") -> list[str]:
    """Return a text in lines that fit the page.

    Args:
        indent: what lines begin with.
        first: what the first one begins with instead.
    """
    return textwrap.wrap(
        text,
        page_width(),
        initial_indent=first or indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def summary_lines(program: str, summaries: Mapping[str, str]) -> list[str]:
    """Return the commands of a program with what they do."""
    width = max(map(len, summaries))
    heads = {name: f"  {program} {name:<{width}}  " for name in summaries}
    return [
        line
        for name, text in summaries.items()
        for line in wrapped(text, " " * len(heads[name]), heads[name])
    ]


def _flag_lines(command: Flags, name: str) -> list[str]:
    spec, width = command.fields[name], page_width()
    aliases = "".join(f", --{alias}" for alias, flag in command.aliases.items() if flag == name)
    text: str = spec.metadata["help"]
    if spec.metadata["choices"]:
        choices = "|".join((*spec.metadata["choices"], *["PLUG-IN"] * spec.metadata["plugins"]))
        if len(choices) > width - _TEXT - 2:  # can be broken into lines
            choices = choices.replace("|", " | ")
        text += f" [{choices}]"
    head = f"  --{name}{aliases} ({_default(spec)})".ljust(_TEXT)
    lines = wrapped(text, " " * _TEXT)
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
