"""What `Hosts` knows of a row."""

from __future__ import annotations

from typing import Protocol, TypeVar


class HostRow(Protocol):
    """A row of a host, which has these attributes.

    Attributes:
        started: when it last became active, on the clock of the host table; -1 before.
        refusals: how often its host has refused it.
        silences: how often its host has not answered it.
        shares: the number of its host's silence with which it fails without having been asked; 0
            without one.
    """

    started: float
    refusals: int
    silences: int
    shares: int

    @property
    def host(self) -> str: ...


RowT = TypeVar("RowT", bound=HostRow)
