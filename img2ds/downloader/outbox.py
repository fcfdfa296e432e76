"""What a worker of a stream has for its parent: samples, ended pieces, and when to start no more.

The parent reads as fast as its caller consumes. A thread sends, so that the event loop never waits
for that; while too much is unsent, no further rows are started, and those in flight end as usual.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from img2ds.config.options import Options
from img2ds.core.failure import Status
from img2ds.core.sample import Sample, ShardTask
from img2ds.downloader.shard import Shard
from img2ds.downloader.shard_worker import Pass
from img2ds.report.shard_report import Progress, ShardReport
from img2ds.report.tally import Tally
from img2ds.source.ranges import RangeReader, read_rows

#: Bytes of images that wait to be sent, above which no further rows are started.
MAX_UNSENT = 16_000_000
#: Samples in one message at most.
BATCH = 32


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Samples of the piece `number`."""

    number: int
    samples: list[Sample]
    shard_id: None = None


@dataclass(frozen=True, slots=True)
class PieceRows:
    """The metadata of all rows of the piece `number`, which has ended.

    Attributes:
        delivered: keys of the samples that the caller has had, of attempts before as well.
    """

    number: int
    rows: pa.Table
    delivered: frozenset[str] = frozenset()
    shard_id: None = None

    def failures(self) -> list[dict[str, Any]]:
        """Return the rows without a sample."""
        return [
            row
            for row in self.rows.to_pylist()
            if row["status"] != Status.SUCCESS.value and row["key"] not in self.delivered
        ]


class Outbox:
    """Sends messages in their order, in a thread of its own."""

    def __init__(self, emit: Callable[[Any], None]) -> None:
        self._emit = emit
        self._messages: deque[Any] = deque()
        self._unsent = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._thread.start()

    def put(self, message: Any) -> None:
        """Send a message after those before it."""
        with self._changed:
            if isinstance(message, Progress) and isinstance(self._last, Progress):
                return  # the parent is behind: it learns what is newer later
            self._messages.append(message)
            self._changed.notify_all()

    @property
    def _last(self) -> Any:
        return self._messages[-1] if self._messages else None

    def add(self, number: int, sample: Sample) -> None:
        """Send a sample of the piece `number`."""
        with self._changed:
            self._unsent += len(sample.image)
            last = self._last
            if (
                isinstance(last, SampleBatch)
                and last.number == number
                and len(last.samples) < BATCH
            ):
                last.samples.append(sample)
            else:
                self._messages.append(SampleBatch(number, [sample]))
            self._changed.notify_all()

    def wait_for_room(self) -> None:
        """Wait until less than `MAX_UNSENT` bytes are unsent."""
        with self._changed:
            self._changed.wait_for(lambda: self._unsent < MAX_UNSENT)

    def close(self) -> None:
        """Send what there is, and end."""
        self.put(None)
        self._thread.join()

    def _send_all(self) -> None:
        # Without its parent, this process ends: see `worker_channel.work`.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while (message := self._take()) is not None:
                self._emit(message)
                if isinstance(message, SampleBatch):
                    with self._changed:
                        self._unsent -= sum(len(sample.image) for sample in message.samples)
                        self._changed.notify_all()

    def _take(self) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: self._messages)
            return self._messages.popleft()


class _Sink:
    """Sends the samples of one piece; see `ShardSink`."""

    def __init__(self, number: int, outbox: Outbox) -> None:
        self._number = number
        self._outbox = outbox

    def add(self, sample: Sample) -> None:
        """See `ShardSink.add`."""
        image = bytes(sample.image)
        self._outbox.add(
            self._number, Sample(sample.index, sample.key, image, sample.caption, sample.metadata)
        )

    def commit(
        self, tally: Tally, notes: list[str], metadata: Callable[[], pa.Table]
    ) -> ShardReport[Any]:
        """See `ShardSink.commit`."""
        rows = metadata()
        self._outbox.put(PieceRows(self._number, rows))
        return ShardReport(self._number, tally, 0.0, notes=tuple(notes))

    def fail(self, error: OSError, notes: list[str]) -> ShardReport[Any]:
        """See `ShardSink.fail`."""
        return ShardReport(self._number, Tally(), 0.0, str(error), notes=tuple(notes))


@dataclass(frozen=True, slots=True)
class StreamWorker:
    """Fetches pieces of a list and sends their samples: the callable that distributors run.

    Attributes:
        token: see `ShardWorker`.
    """

    options: Options
    makes: Pass
    token: str

    def __call__(self, tasks: Iterator[ShardTask], emit: Callable[[Any], None]) -> None:
        from img2ds.downloader.worker import run_worker  # not in the parent, as in `shard_worker`

        outbox = Outbox(emit)
        reader = RangeReader()

        def open_piece(task: ShardTask) -> Shard:
            table = read_rows(task, self.options.input.columns, reader)
            return Shard(task, table, self.options, _Sink(task.shard_id, outbox))

        paced = _paced(tasks, outbox)
        run_worker(self.options, open_piece, paced, outbox.put, self.makes, self.token)
        outbox.close()


def _paced(tasks: Iterator[ShardTask], outbox: Outbox) -> Iterator[ShardTask]:
    while True:
        outbox.wait_for_room()
        task = next(tasks, None)
        if task is None:
            return
        yield task
