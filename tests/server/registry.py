"""The table of behaviours by path; the modules of behaviours enter themselves."""

from __future__ import annotations

from tests.server.web import Behaviour

#: Every behaviour that a path of one ordinary server can show, by that path.
BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(kind: type[Behaviour]) -> type[Behaviour]:
    """Class decorator: enter the behaviour in the table.

    Raises:
        ValueError: its path is taken.
    """
    if kind.path in BEHAVIOURS:
        raise ValueError(f"{kind.path} is taken by {type(BEHAVIOURS[kind.path]).__name__}")
    BEHAVIOURS[kind.path] = kind()
    return kind
