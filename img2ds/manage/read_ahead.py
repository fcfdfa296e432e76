"""Reads the tables of many shards in order, on threads that are a few shards ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from img2ds.engine.cores import usable_cores
from img2ds.storage import OutputFolder

#: Tables of a remote folder that are read at once: that is waiting, not work.
_PARALLEL = 16

Shard = TypeVar("Shard")
Found = TypeVar("Found")


def read_ahead(
    folder: OutputFolder, read: Callable[[Shard], Found], shards: Iterable[Shard]
) -> Iterator[tuple[Shard, Found]]:
    """Yield each shard of `folder` and what `read` returns of it, in order. Raises as `read`."""
    count = usable_cores() if folder.local else _PARALLEL
    waiting: deque[tuple[Shard, Future[Found]]] = deque()
    with ThreadPoolExecutor(count, "read-ahead") as pool:
        for shard in shards:
            waiting.append((shard, pool.submit(read, shard)))
            if len(waiting) > 2 * count:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
