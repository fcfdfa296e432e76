"""A row of a shard on its way, the states that it may be in, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from img2ds.downloader.shard import Shard


class RowState(IntEnum):
    """Who holds a row: see the table of `scheduler`."""

    NEW = 0
    WAITING = 1
    ACTIVE = 2
    DELAYED = 3
    ENDED = 4


#: The states that may follow each state.
MOVES: dict[RowState, tuple[RowState, ...]] = {
    RowState.NEW: (RowState.ACTIVE, RowState.WAITING),
    RowState.WAITING: (RowState.ACTIVE,),
    RowState.ACTIVE: (RowState.ENDED, RowState.DELAYED, RowState.WAITING),
    RowState.DELAYED: (RowState.ACTIVE, RowState.WAITING),
    RowState.ENDED: (),
}


class RowEnd(Enum):
    """How a row ended that did not fail."""

    STORED = "stored"
    SHARD_LOST = "shard lost"


@dataclass(slots=True)
class Row:
    """One row of a shard on its way.

    Attributes:
        attempts: attempts made, without those that failed for a local reason.
        local_failures: attempts that failed for a local reason, or one that all rows share.
        silent_by_chance: how likely it is that its host is there, and all SYNs were lost.
        clear_for: for how many seconds its last attempt surely met no trouble but its host's; 0
            where that holds for all of it.
        asked_again: whether an attempt was given up early, because its response was lost.
        unclear_failures: attempts of which nobody can tell whose fault their failure was.
        started, refusals, silences, shares: see `HostRow`.
    """

    shard: Shard
    index: int
    host: str
    attempts: int = 0
    local_failures: int = 0
    unclear_failures: int = 0
    silent_by_chance: float = 1.0
    clear_for: float = 0.0
    asked_again: bool = False
    state: RowState = RowState.NEW
    started: float = -1.0
    refusals: int = 0
    silences: int = 0
    shares: int = 0

    def move_to(self, state: RowState) -> None:
        """Change the state, as `MOVES` allows it."""
        assert state in MOVES[self.state], f"row {self.index}: {self.state.name} to {state.name}"
        self.state = state
