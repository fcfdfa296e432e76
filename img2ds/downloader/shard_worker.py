"""What is handed to worker processes: which shards they make, and how they open them.

The parent pickles it, and need not import what downloads and decodes: `worker` is imported by the
processes that call it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from img2ds.config.options import Options
from img2ds.core.sample import ShardTask
from img2ds.downloader.blocked_rows import Opener
from img2ds.downloader.shard_opener import ShardOpener
from img2ds.storage import OutputFolder


class Pass(Enum):
    """Which shards a worker makes.

    `FIRST`: all. `ISOLATED`: those that were lost, one at a time: an image that kills its worker,
    or takes all memory, must not take another shard with it. `LAST`: partial ones, as
    many at once as may be open, since their rows wait.
    """

    FIRST = "first"
    ISOLATED = "isolated"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class ShardWorker:
    """Makes shards: the callable that distributors run, once in each process.

    Attributes:
        makes: which shards it makes.
        opener: called in the process. A caller's own may send images elsewhere than into a dataset.
        token: of the files that the workers of a machine share; None for a worker alone.
    """

    options: Options
    folder: OutputFolder
    makes: Pass = Pass.FIRST
    opener: Callable[[Options, OutputFolder], Opener] = ShardOpener
    token: str | None = None

    def __call__(self, tasks: Iterator[ShardTask], emit: Callable[[Any], None]) -> None:
        from img2ds.downloader.worker import run_worker

        self.folder.clean_dead_workers()
        opener = self.opener(self.options, self.folder)
        run_worker(self.options, opener, tasks, emit, self.makes, self.token)
