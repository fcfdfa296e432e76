"""The table of behaviours by path; the modules of behaviours register themselves."""

from __future__ import annotations

from tests.server.web import Behaviour

#: Every behaviour of an ordinary server, by its path.
BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(kind: type[Behaviour]) -> type[Behaviour]:
    """Class decorator that adds the behaviour to the table.

    Raises:
        ValueError: its path is taken.
    """
    if kind.path in BEHAVIOURS:
        raise ValueError(f"{kind.path} is taken by {type(BEHAVIOURS[kind.path]).__name__}")
    BEHAVIOURS[kind.path] = kind()
    return kind
