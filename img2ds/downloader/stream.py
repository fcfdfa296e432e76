"""A stream: samples in memory, as worker processes fetch them, instead of a dataset.

The same fetching, decoding and reasons as in a download. Pieces of the list are the shards of the
workers; what a worker took with it when it died is fetched again, one image at a time.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import pyarrow as pa
import sniffio
import trio

from img2ds.config.options import Options
from img2ds.congestion.shared_file import run_files
from img2ds.core.failure import Status
from img2ds.core.sample import Sample, ShardTask
from img2ds.core.schema import metadata_schema
from img2ds.downloader.name_server import running_resolver
from img2ds.downloader.outbox import PieceRows, SampleBatch, StreamWorker
from img2ds.downloader.shard_worker import Pass
from img2ds.engine.distributors.contract import TaskLost, WorkersDieError
from img2ds.engine.distributors.local import LocalDistributor
from img2ds.report.shard_report import Progress, ShardReport
from img2ds.report.tally import Tally
from img2ds.report.units import counted

#: Rows of a piece.
PIECE_ROWS = 256

_log = logging.getLogger("img2ds")


class _Closed(Exception):
    """The stream was closed by another thread or task than the one that reads it."""


@dataclass(slots=True)
class _State:
    """What a stream and its generator share, so that neither refers to the other."""

    closed: threading.Event = field(default_factory=threading.Event)
    tally: Tally = field(default_factory=Tally)

    def stopping(self) -> bool:
        """See `Distributor.stream`."""
        if self.closed.is_set():
            raise _Closed
        return False


class Stream(Iterator[Sample], AsyncIterator[Sample]):
    """Iterates over the samples of a list in the order in which they are ready.

    Worker processes start with the first sample that is asked for, and end with the iteration, or
    when the stream is closed or forgotten. They hold a bounded number of samples: a caller who
    takes none stops them from fetching more.

    Failed rows are left out: `on_failure` gets them, and `tally` counts them.

    Raises:
        OSError: the list cannot be read, or the network is down for longer than `max_outage`.
        RuntimeError: workers cannot be started, or die again and again.
    """

    def __init__(
        self,
        options: Options,
        tasks: Iterable[ShardTask],
        on_failure: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._state = _State()
        self._on_failure = on_failure
        self._messages = _messages(options, iter(tasks), self._state)
        self._samples: deque[Sample] = deque()
        schema = metadata_schema(
            dict.fromkeys(options.input.kept_columns, pa.null()),
            caption=options.input.caption_col is not None,
            exif=options.image.extract_exif,
            digest=options.image.compute_hash,
            pdq=options.image.compute_pdq,
        )
        self._empty = schema.append(pa.field("image", pa.binary())).empty_table()

    @property
    def tally(self) -> Tally:
        """Counts of the rows of the pieces that have ended, all rows when the iteration has."""
        return self._state.tally

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Sample:
        while not self._samples:
            self._take(next(self._messages))
        return self._samples.popleft()

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Sample:
        while not self._samples:
            try:
                message = await _in_thread(lambda: next(self._messages, None))
            except BaseException:
                self._state.closed.set()  # cancelled: the thread ends by itself
                raise
            if message is None:
                raise StopAsyncIteration
            self._take(message)
        return self._samples.popleft()

    def _take(self, message: SampleBatch | PieceRows) -> None:
        if isinstance(message, SampleBatch):
            self._samples.extend(message.samples)
        elif self._on_failure is not None:
            for row in message.failures():
                self._on_failure(row)

    def read_all(self) -> pa.Table:
        """Return all rows that are left as a table, failed ones too, in the order of their keys.

        Its columns are those of a dataset's metadata, and `image`, which is null in failed rows.
        """
        images: dict[str, Any] = {sample.key: sample.image for sample in self._samples}
        self._samples.clear()
        tables: dict[int, pa.Table] = {}
        for message in self._messages:
            if isinstance(message, SampleBatch):
                images.update((sample.key, sample.image) for sample in message.samples)
            else:
                rows = message.rows
                column = []
                for key, end in zip(*(rows[n].to_pylist() for n in ("key", "status")), strict=True):
                    image = images.pop(key, None)
                    column.append(image if end == Status.SUCCESS.value else None)
                tables[message.number] = rows.append_column("image", pa.array(column, pa.binary()))
        if not tables:
            return self._empty
        return pa.concat_tables(tables[number] for number in sorted(tables))

    def close(self) -> None:
        """End the worker processes. What is read later is the end of the stream."""
        self._samples.clear()
        try:
            self._messages.close()
        except ValueError:  # another thread reads it just now
            self._state.closed.set()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def _in_thread(function: Callable[[], Any]) -> Any:
    """Call it in a thread, under trio or asyncio."""
    if sniffio.current_async_library() == "trio":
        return await trio.to_thread.run_sync(function, abandon_on_cancel=True)
    import asyncio

    return await asyncio.to_thread(function)


def _messages(
    options: Options, tasks: Iterator[ShardTask], state: _State
) -> Generator[SampleBatch | PieceRows, None, None]:
    """Yield what workers send of all pieces; each row once."""
    try:
        with run_files() as token, running_resolver(options) as options:
            made = _Pass(state, {})
            try:
                yield from made.run(options, StreamWorker(options, Pass.FIRST, token), tasks)
                left = iter(made.left)
            except WorkersDieError:
                if not options.run.max_shard_retry:
                    raise
                left = chain(made.left, tasks)  # isolated workers can live with most causes
            for _ in range(options.run.max_shard_retry):
                made = _Pass(state, made.seen)
                yield from made.run(options, StreamWorker(options, Pass.ISOLATED, token), left)
                left = iter(made.left)
            if made.left:
                rows = counted(sum(task.count for task in made.left), "row")
                raise RuntimeError(f"{rows} lost: {made.why}")
    except _Closed:
        return


class _Pass:
    """One pass of workers over pieces.

    Attributes:
        seen: the keys of the samples that the caller had of each piece that has not ended.
        why: of the last piece that was lost.
    """

    def __init__(self, state: _State, seen: dict[int, set[str]]) -> None:
        self._state = state
        self._given: dict[int, ShardTask] = {}
        self.seen = seen
        self.why = ""
        self._waits = False

    @property
    def left(self) -> list[ShardTask]:
        """The pieces that were given out and have not ended, lost ones at the end of the pass."""
        return list(self._given.values())

    def run(
        self, options: Options, worker: StreamWorker, tasks: Iterator[ShardTask]
    ) -> Generator[SampleBatch | PieceRows, None, None]:
        distributor = LocalDistributor(options.run.processes_count)
        stream = distributor.stream(worker, self._record(tasks), self._state.stopping)
        with closing(stream) as messages:
            for message in messages:
                if isinstance(message, SampleBatch):
                    seen = self.seen.setdefault(message.number, set())
                    fresh = [sample for sample in message.samples if sample.key not in seen]
                    seen.update(sample.key for sample in fresh)
                    yield SampleBatch(message.number, fresh)
                elif isinstance(message, PieceRows):
                    seen = self.seen.get(message.number, set())
                    yield replace(message, delivered=frozenset(seen))
                elif isinstance(message, TaskLost):
                    self.why = message.why
                elif isinstance(message, ShardReport):
                    self._end(message)
                elif isinstance(message, Progress):
                    self._say(message)

    def _record(self, tasks: Iterator[ShardTask]) -> Iterator[ShardTask]:
        for task in tasks:
            self._given[task.shard_id] = task
            yield task

    def _say(self, progress: Progress[Any]) -> None:
        condition = progress.condition
        text = condition.text if condition is not None and condition.waits else ""
        if text and not self._waits:  # the text has a time that grows
            _log.warning("%s", text)
        self._waits = bool(text)

    def _end(self, report: ShardReport[Any]) -> None:
        for note in report.notes:
            _log.warning("%s", note)
        if report.fatal:
            raise OSError(report.error)
        if report.error is not None:
            self.why = report.error
            return
        self._state.tally.merge(report.tally)
        del self._given[report.shard_id]
        self.seen.pop(report.shard_id, None)
