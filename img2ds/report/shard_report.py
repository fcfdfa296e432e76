"""What a worker tells its parent: a shard that came to an end, or how far it got."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from img2ds.report.condition import Condition
from img2ds.report.counters import Counts

CountsT = TypeVar("CountsT", bound=Counts)


@dataclass(frozen=True, slots=True)
class Progress(Generic[CountsT]):
    """Rows that ended since the last one, of any shard; `tally` has no messages.

    Attributes:
        condition: what bounds the run on the worker's machine; None from workers that do not know.
    """

    tally: CountsT
    condition: Condition | None = None
    shard_id: None = None


@dataclass(frozen=True, slots=True)
class ShardReport(Generic[CountsT]):
    """The end of one shard. `error` is None when it is committed, else why it is not.

    `duration` is in seconds from its first row to its commit marker. `notes` are lines for the log.
    """

    shard_id: int
    tally: CountsT
    duration: float
    error: str | None = None
    fatal: bool = False
    notes: tuple[str, ...] = ()
