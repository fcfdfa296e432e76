"""A host with rows of one worker."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Generic

from img2ds.congestion.first_row import FirstRow
from img2ds.downloader.host_row import RowT
from img2ds.downloader.silence import sharing


@dataclass(slots=True)
class Host(Generic[RowT]):
    """A host with rows here.

    Attributes:
        place: its place in the host table.
        first_row: what other workers know of it.
        open: whether it has responded: then only `HostControl` limits it.
        counted: whether its rows count as waiting for a first response.
        active: rows that were admitted and have not left.
        waiting: rows that have not.
        silences: the number of its last silence whose failure rows here could share.
        sharing: rows that share it and are waiting still.
        listed, wakes_at: see `Agenda`.
    """

    name: str
    place: int
    first_row: FirstRow
    open: bool
    counted: bool
    active: int = 0
    waiting: deque[RowT] = field(default_factory=deque)
    silences: int = 0
    sharing: int = 0
    listed: bool = False
    wakes_at: float = math.inf

    def shares(self, silence: int) -> bool:
        """Return whether the next row that waits shares a silence, of any worker's row.

        Args:
            silence: the number of the host's last one.
        """
        if silence != self.silences and not self.active:  # nobody may be answered yet
            self.silences = silence
            self.sharing = min(len(self.waiting), sharing(silence) - 1)
        return self.sharing > 0
