"""Plug-ins: found by name among the entry points of installed packages, or as `module:object`.

A name is all that other processes and later runs need. Objects of a program that have none that
lasts, such as the functions of a notebook, are in `core.plugin_object`.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NewType

from img2ds.core.failure import Failure, Reason, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: The name of a plug-in, to type checkers: `output_format=PluginName("mine")`.
PluginName = NewType("PluginName", str)

#: Flags that take plug-ins, with the group of their entry points.
GROUPS = {
    "output_format": "img2ds.output_formats",
    "input_format": "img2ds.input_formats",
    "filter": "img2ds.filters",
    "transform": "img2ds.transforms",
    "fetcher": "img2ds.fetchers",
}


class PluginError(Exception):
    """A plug-in raised an error, or returned something wrong: this costs its row.

    Attributes:
        failure: of the row; it names the plug-in.
    """

    def __init__(self, flag: str, name: str, problem: Exception | str) -> None:
        kind = flag.replace("_", " ")
        trace = None
        if isinstance(problem, Exception):
            trace = "".join(traceback.format_exception(problem))
            problem = f"raised {type(problem).__name__}"
        message = f"{kind} {name} {problem}"
        super().__init__(message)
        self.failure = Failure(Reason.PLUGIN_ERROR.value, message, traceback=trace)


@cache
def installed(flag: str) -> dict[str, EntryPoint]:
    """Return the installed plug-ins for a flag, by name."""
    from importlib.metadata import entry_points  # takes 20 ms, and most runs have no plug-in

    return {entry.name: entry for entry in entry_points(group=GROUPS[flag])}


def names_plugin(flag: str, text: str) -> bool:
    """Return whether a value of a flag can be the name of a plug-in."""
    return ":" in text or text in installed(flag)


@cache
def load(flag: str, name: str) -> Any:
    """Return the object that a plug-in is, imported.

    Args:
        name: of an installed plug-in, or `module:object`.

    Raises:
        UsageError: there is none, or it cannot be imported.
    """
    entry = installed(flag).get(name)
    if entry is None and ":" not in name:
        raise UsageError(f"--{flag}: {unknown(flag, name)}")
    reference = name if entry is None else entry.value.partition("[")[0].strip()
    provider = "" if entry is None or entry.dist is None else f" of the package {entry.dist.name}"
    module, _, path = reference.partition(":")
    try:
        found = import_module(module)
        for attribute in filter(None, path.split(".")):
            found = getattr(found, attribute)
    except Exception as error:  # whatever its code does
        words = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(f"--{flag}: {name}{provider} cannot be imported: {words}") from None
    return found


def unknown(flag: str, name: str, built_in: Iterable[str] = ()) -> str:
    """Say that nothing is called `name`; names the nearest there is."""
    known = [*built_in, *installed(flag)]
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"unknown plug-in {name!r}; did you mean {near[0]}?"
    there = f"installed: {', '.join(sorted(known))}" if known else "none is installed"
    return f"unknown plug-in {name!r} ({there}); an object of a module is MODULE:OBJECT"
