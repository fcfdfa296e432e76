"""What a worker tells its parent: a shard that came to an end, or how far it got."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from img2ds.report.condition import Condition
from img2ds.report.counters import Counts
from img2ds.storage import StoredMarker

CountsT = TypeVar("CountsT", bound=Counts)


@dataclass(frozen=True, slots=True)
class Progress(Generic[CountsT]):
    """Rows that ended since the last one, of any shard; `tally` has no messages.

    Attributes:
        condition: what bounds the run on the worker's machine; None from workers that do not know.
        resumed: whether the rows ended in an earlier run, which left them in a partial shard.
    """

    tally: CountsT
    condition: Condition | None = None
    resumed: bool = False
    shard_id: None = None


@dataclass(frozen=True, slots=True)
class ShardReport(Generic[CountsT]):
    """The end of one shard, or of a task that did what it could for it.

    Attributes:
        duration: seconds from its first row to its commit marker.
        error: why it is not committed; None if it is, or if it was saved as a partial shard.
        fatal: whether no other shard can be made either.
        notes: lines for the log.
        later: the task that completes the shard, which is partial; else None.
        marker: the commit marker that this attempt wrote; None without.
    """

    shard_id: int
    tally: CountsT
    duration: float
    error: str | None = None
    fatal: bool = False
    notes: tuple[str, ...] = ()
    later: Any = None
    marker: StoredMarker | None = None
