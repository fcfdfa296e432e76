"""The first row of a host: what it learns counts for all workers of a machine.

Whether a host answers is not known until one row has asked. Were each worker to ask with a row of
its own, a dead host would take as many entries of a router's table, each for a minute or two.
"""

from __future__ import annotations

from img2ds.congestion.host_table import Field, HostTable


class FirstRow:
    """What the workers share of one host's first row; nothing where it shares its place.

    Args:
        place: the host's place in the table.
    """

    __slots__ = ("_at", "_place", "_table")

    def __init__(self, table: HostTable, place: int, host: str) -> None:
        self._table = table
        self._place = place if not table.alone and table.belongs_to(place, host) else None
        self._at = table.at(place)

    @property
    def has_answered(self) -> bool:
        """Whether the host has answered a worker."""
        return self._place is not None and self._table.fields[self._at + Field.ANSWERED] > 0

    @property
    def is_others(self) -> bool:
        """Whether a row of another worker asks."""
        if self._place is None:
            return False
        asker = int(self._table.fields[self._at + Field.ASKER]) - 1
        return asker not in (-1, self._table.worker) and self._table.has_rows(asker, self._place)

    def ask(self) -> None:
        """Note that a row of this worker asks, unless another one does."""
        if self._place is not None and not self.is_others:
            self._table.fields[self._at + Field.ASKER] = self._table.worker + 1

    def end(self, *, answered: bool) -> None:
        """Note whether the host has answered."""
        if self._place is not None:
            self._table.fields[self._at + Field.ANSWERED] = float(answered)
            self._table.fields[self._at + Field.ASKER] = 0.0
