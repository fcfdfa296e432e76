"""The shards of a worker, from their tasks to their reports.

The loop ends each of them. When it is stuck in a decoder and the run stops, its stand-in does: see
`stand_in`. So a shard is ended by whoever comes first, and reported in the same thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from img2ds.downloader.shard import Shard
from img2ds.report.shard_report import ShardReport
from img2ds.report.tally import Tally

#: Seconds that shards which other threads are ending may take.
_MAX_WAIT = 60.0


class OpenShards:
    """Shards by their numbers, and tasks that are not yet shards.

    Args:
        emit: takes reports, from any thread.
    """

    def __init__(self, emit: Callable[[Any], None]) -> None:
        self.shards: dict[int, Shard] = {}
        self._emit = emit
        self._tasks: dict[int, Any] = {}
        self._taken: set[int] = set()
        self._ended: set[int] = set()
        self._changed = threading.Condition()

    @property
    def can_be_saved(self) -> bool:
        """Whether all open shards can be saved as partial ones."""
        # A copy: the loop may add one meanwhile.
        return all(shard.can_save_partial for shard in list(self.shards.values()))

    def pull(self, tasks: Iterator[Any]) -> Any:
        """Return the next task, None at their end. Blocks."""
        task = next(tasks, None)
        if task is not None:
            self._tasks[task.shard_id] = task
        return task

    def add(self, shard: Shard) -> None:
        """Add the shard of a task."""
        self.shards[shard.id] = shard
        del self._tasks[shard.id]

    def remove(self, shard: Shard) -> None:
        """Remove a shard that has been ended."""
        del self.shards[shard.id]
        with self._changed:
            self._taken.discard(shard.id)
            self._ended.discard(shard.id)

    def report(self, report: ShardReport[Any]) -> None:
        """Report a task of which no shard is made."""
        del self._tasks[report.shard_id]
        self._emit(report)

    def put_off(self, task: Any) -> None:
        """Report that a task is not begun now."""
        self.report(ShardReport(task.shard_id, Tally(), 0.0, later=task))

    def end(self, shard: Shard, save: Callable[[], ShardReport[Any]]) -> None:
        """End a shard and report it, unless that was done. Blocks: call it from a thread."""
        with self._changed:
            if shard.id in self._taken:
                return
            self._taken.add(shard.id)
        try:
            self._emit(save())
        finally:
            with self._changed:
                self._ended.add(shard.id)
                self._changed.notify_all()

    def save_all(self, tasks: Iterator[Any]) -> None:
        """End all shards, in place of the loop, which must not run meanwhile.

        Args:
            tasks: those that were not pulled yet.
        """
        for shard in self.shards.values():
            self.end(shard, shard.save_partial if shard.left else shard.commit)
        for task in list(self._tasks.values()):
            self.put_off(task)
        while self.pull(tasks) is not None:
            for task in list(self._tasks.values()):
                self.put_off(task)
        with self._changed:
            self._changed.wait_for(lambda: self._taken <= self._ended, _MAX_WAIT)
