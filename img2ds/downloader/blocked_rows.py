"""Rows whose URL or host is on a block list: they fail when their shard is opened.

Such a row costs no request, no slot, and no wait for its host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from img2ds.blocklist.blocks import Blocks
from img2ds.downloader.shard import Shard
from img2ds.report.shard_report import ShardReport

#: From a task to its shard, or to the report of one that is committed already. Blocks. OSError,
#: UsageError and ArrowException are reported as the shard's error.
Opener = Callable[[Any], Shard | ShardReport[Any]]


class BlockedRows:
    """An opener of shards whose blocked rows have ended.

    Args:
        opener: opens the shards.
        blocks: opened with the first shard.
    """

    def __init__(self, opener: Opener, blocks: Blocks) -> None:
        self._opener = opener
        self._blocks = blocks

    def __call__(self, task: Any) -> Shard | ShardReport[Any]:
        """See `Opener`. Raises UsageError, OSError: a list cannot be read."""
        self._blocks.open()
        shard = self._opener(task)
        if isinstance(shard, Shard) and self._blocks.has_urls:
            self._end_blocked(shard)
        return shard

    def _end_blocked(self, shard: Shard) -> None:
        for index, url in enumerate(shard.urls):
            if shard.has_ended(index):  # in its partial shard
                continue
            blocked = self._blocks.judge_text(url)
            if blocked is not None:
                shard.fail(index, blocked)
                shard.end_row()
