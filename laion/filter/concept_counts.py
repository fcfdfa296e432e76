"""How many captions match each entry of a list: a pass over the input before it is filtered."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np

from img2ds.core.naming import shard_name
from img2ds.engine.shard_output import DIGITS, ShardOutput
from img2ds.storage import read_whole
from laion.data.embedding_folder import EmbeddingShard
from laion.filter.concepts import Concepts, Counts
from laion.filter.rules import Rows
from laion.passes import Passes

#: Tasks at most: each writes 4 bytes for an entry, 2 MB for 500,000.
_TASKS = 256
_PASS = "count"


@dataclass(frozen=True, slots=True)
class CountTask:
    """Consecutive shards, batch `shard_id` of them."""

    shard_id: int
    shards: tuple[EmbeddingShard, ...]


def count_matches(passes: Passes, shards: Sequence[EmbeddingShard], concepts: Concepts) -> Counts:
    """Return in how many captions each entry occurs.

    Raises:
        PassesEndedError: it is not complete.
        OSError: what was counted cannot be read.
    """
    size = ceil(len(shards) / _TASKS)
    starts = range(0, len(shards), size)
    tasks = [CountTask(n, tuple(shards[at : at + size])) for n, at in enumerate(starts)]
    passes.run(_PASS, partial(count, concepts=concepts), tasks)
    total = np.zeros(len(concepts.entries), np.int64)
    for task in tasks:
        name = _file(shard_name(task.shard_id, DIGITS))
        total += np.load(io.BytesIO(read_whole(f"{passes.path}/{_PASS}/{name}")))
    return total


def count(task: CountTask, shard: ShardOutput, concepts: Concepts) -> None:
    """Count the captions of a batch."""
    total = np.zeros(len(concepts.entries), np.int64)
    for source in task.shards:
        texts = Rows(source, source.table(["caption"])).texts
        total += concepts.count(texts)
        shard.counts.successes += len(texts)
        shard.report_progress()
    np.save(shard.path(_file(shard.name)), total.astype(np.uint32))


def _file(name: str) -> str:
    return f"{name}.counts.npy"
