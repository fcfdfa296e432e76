"""What a command is made of: parts that are imported when the command is used, and a result."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from img2ds.core.failure import UsageError


class Result(Protocol):
    """The result of a command: an exit code, and text for people."""

    @property
    def exit_code(self) -> int: ...

    @property
    def text(self) -> str: ...


def load(reference: str, extra: str) -> Any:
    """Import what `module:name` refers to.

    Args:
        extra: the extra of `pip install 'img2ds[...]'` that installs what the module needs.

    Raises:
        UsageError: a package is not installed.
    """
    module, _, name = reference.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "img2ds", "laion"):
            raise  # our own fault
        raise UsageError(
            f"this command needs the package {missing}: pip install 'img2ds[{extra}]'"
        ) from None
