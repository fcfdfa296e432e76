"""The way of a row in a worker: fetch, transform, hand to the shard. One task a slot.

A slot decodes its picture in the loop's own thread when the header says that this is cheap:
handing every picture to a thread costs a tenth of all CPU. A costly one goes to a single
thread, so that the loop goes on meanwhile, unless others wait for it already.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from random import Random
from time import perf_counter

import trio

from img2ds.config.options import Options
from img2ds.core.failure import Failure, Reason, Retryability, failure, retryability
from img2ds.core.sample import Body
from img2ds.downloader.scheduler import Row, Scheduler
from img2ds.downloader.shard import Shard
from img2ds.downloader.slots import Slot, Slots
from img2ds.image.boxes import BoxError, Boxes, read_boxes
from img2ds.image.digest import make_digest
from img2ds.image.transform import Transformer
from img2ds.net.budget import Budget
from img2ds.net.context import FetchContext
from img2ds.net.deadline import Deadline
from img2ds.net.fetcher import Fetcher
from img2ds.net.retry_rule import retry_delay
from img2ds.report.tally import Tally

#: Times a row is tried again after a failure of this machine itself, and the pause in seconds.
LOCAL_RETRIES, LOCAL_PAUSE = 20, 1.0
#: Costly pictures that wait for the thread; where there are more the loop itself decodes. It has
#: no less to do than the thread, and a queue there would fill with slots and their bodies.
MAX_WAITING = 2
#: Rows out at once to a host that has not answered yet. The next one gains by the wait as well:
#: it finds a connection to go on with.
UNANSWERED = 1
#: Rows a slot that may be parked with hosts that have not answered yet.
PARKED = 4
#: Failures that are the host's, whatever its URL.
SILENCE = frozenset((Reason.CONNECT_TIMEOUT.value, Reason.DNS_TIMEOUT.value))
#: Tracebacks kept a shard: one shows the fault, a thousand hide it.
MAX_NOTES = 3


class Pipeline:
    """Slots over a feed.

    Args:
        finished: called once for each shard whose last row has ended.
    """

    def __init__(
        self,
        options: Options,
        fetcher: Fetcher,
        finished: Callable[[Shard], None],
    ) -> None:
        network = options.network
        self.feed = Scheduler(
            network.per_host_concurrency, UNANSWERED, PARKED * network.thread_count
        )
        self._slots = Slots(network.thread_count, self.feed.next, self._attempt)
        self._options = options
        self._fetcher = fetcher
        self._progress = Tally()
        self._finished = finished
        self._budget = Budget(options.run.memory_budget)
        self._transformer = Transformer(options.image)
        verify = options.input.verify_hash
        self._digest = (
            make_digest(options.image.compute_hash) if options.image.compute_hash else None
        )
        self._verify = make_digest(verify[1]) if verify else None
        self._thread = trio.CapacityLimiter(1)
        self._random = Random()

    def take_progress(self) -> Tally:
        """What ended since the last call, for people who watch; exact counts are the shards'."""
        taken, self._progress = self._progress, Tally()
        return taken

    async def run(self) -> None:
        """Run all slots until the feed is closed and every row has ended."""
        await self._slots.run()

    async def _attempt(self, row: Row, slot: Slot) -> None:
        if row.shard.error is not None:
            row.shard.pending -= 1  # the shard is lost already, and will be made again whole
            self._end(row, None)
            return
        boxes: Boxes = ()
        if row.shard.boxes is not None:
            try:
                boxes = read_boxes(row.shard.boxes[row.index])
            except BoxError as error:  # nobody need send a picture that may not be kept
                self._end(row, failure(Reason.BAD_BOXES, str(error)))
                return
        network = self._options.network
        with self._budget.lease() as lease:
            deadline = Deadline(network.timeout, network.max_time)
            context = FetchContext(lease, deadline, slot, partial(self.feed.answered, row))
            outcome = await self._row(row, context, boxes)
        if outcome is not None and outcome.reason in SILENCE and not outcome.via_other_host:
            for other in self.feed.silent(row):
                self._end(other, outcome)
        elif outcome is None or retryability(outcome.reason) is not Retryability.LOCAL:
            self.feed.answered(row)
        self._end(row, outcome)

    def _end(self, row: Row, outcome: Failure | None) -> None:
        """The row has ended, with this failure if any; or it is to be tried again."""
        shard = row.shard
        if outcome is not None:
            delay = self._delay(row, outcome)
            if delay is not None:
                self.feed.again(row, delay)
                return
            shard.fail(row.index, outcome)
            self._progress.add_failure(outcome)
        self.feed.done(row)
        if not shard.pending:
            self._finished(shard)

    def _delay(self, row: Row, outcome: Failure) -> float | None:
        if retryability(outcome.reason) is Retryability.LOCAL:
            if outcome.reason == Reason.INTERNAL_ERROR or row.local_failures >= LOCAL_RETRIES:
                return None
            row.local_failures += 1
            return LOCAL_PAUSE
        row.attempts += 1
        # What other rows of a silent host have tried need not be tried again for this one.
        attempts = max(row.attempts, self.feed.silences(row))
        return retry_delay(outcome, attempts, self._options.network.retries, self._random)

    async def _row(self, row: Row, context: FetchContext, boxes: Boxes) -> Failure | None:
        """One attempt at a row. On success the shard has it and None is returned."""
        shard = row.shard
        try:
            fetched = await self._fetcher.fetch(shard.urls[row.index], context)
            if isinstance(fetched, Failure):
                return fetched
            return await self._picture(shard, row.index, fetched.body, boxes)
        except Exception as fault:
            # The one broad except of a worker: a fault of ours costs a row, is counted, and told.
            if len(shard.notes) < MAX_NOTES:
                shard.notes.append(f"{shard.urls[row.index]}: {traceback.format_exc()}")
            return failure(Reason.INTERNAL_ERROR, f"internal error: {type(fault).__name__}")

    async def _picture(self, shard: Shard, index: int, body: Body, boxes: Boxes) -> Failure | None:
        shard.tally.bytes_received += len(body)
        self._progress.bytes_received += len(body)
        began = perf_counter()
        if self._digest is not None:
            shard.digest(index, self._digest(body))
        if self._verify is not None and shard.hashes is not None:
            expected = shard.hashes[index]
            if expected is None or self._verify(body) != expected.strip().lower():
                return failure(Reason.HASH_MISMATCH, "hash differs from the list's")
        picture = self._transformer.inspect(body, boxes)
        if isinstance(picture, Failure):
            return picture
        if picture.costly and self._thread.statistics().tasks_waiting < MAX_WAITING:
            encoded = await trio.to_thread.run_sync(
                self._transformer.render, picture, limiter=self._thread
            )
        else:
            encoded = self._transformer.render(picture)
        transformed = perf_counter()
        self._progress.seconds["transform"] += transformed - began
        if isinstance(encoded, Failure):
            return encoded
        try:
            shard.succeed(index, encoded)
        except OSError as fault:
            shard.error = fault
            shard.pending -= 1
            return None
        self._progress.add_success(len(encoded.data))
        self._progress.seconds["write"] += perf_counter() - transformed
        return None
