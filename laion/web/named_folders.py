"""Folders under names, as they are given: `NAME=FOLDER`, or a folder whose name is used. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence

from img2ds.core.failure import UsageError


def named_folders(flag: str, given: Sequence[str]) -> dict[str, str]:
    """Return folders by name, in their order.

    Args:
        flag: the flag's name, for messages.

    Raises:
        UsageError: a name is empty or given twice.
    """
    found: dict[str, str] = {}
    for value in given:
        name, equals, folder = value.partition("=")
        if not equals or "/" in name or "://" in value.partition("=")[0]:
            name, folder = os.path.basename(os.path.abspath(value)), value
        if not name or not folder:
            raise UsageError(f"--{flag} {value!r}: give a folder, or NAME=FOLDER")
        if name in found:
            raise UsageError(f"--{flag}: two folders are called {name!r}: name them, NAME=FOLDER")
        found[name] = folder
    return found
