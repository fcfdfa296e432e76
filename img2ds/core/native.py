"""Load the compiled extensions of this repository, or leave them out.

Each extension is optional: it may not be built for this machine, and the environment variable
`IMG2DS_NATIVE=0` turns all of them off. Python code that uses one has a slower path without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType

#: The environment variable that turns the extensions off. Worker processes inherit it; on a
#: cluster it has to be set on every machine.
SWITCH = "IMG2DS_NATIVE"

_OFF = frozenset({"0", "false", "no", "off"})


def is_enabled() -> bool:
    """Return whether the environment allows compiled extensions."""
    return os.environ.get(SWITCH, "").strip().lower() not in _OFF


def load_extension(package: str, name: str) -> ModuleType | None:
    """Import the extension `_NAME` of a package.

    Returns:
        None if extensions are turned off, or this one is not built for this machine.
    """
    if not is_enabled():
        return None
    try:
        return import_module(f"{package}._{name}")
    except ImportError:
        return None


def describe(extensions: Iterable[str]) -> str:
    """Return the extensions in use in words, for `--version`."""
    names = ", ".join(extensions) or "none"
    return f"native: {names}" if is_enabled() else f"native: {names}; {SWITCH}={os.environ[SWITCH]}"
