"""The way of a row in a worker: fetch, transform, hand to the shard. One task a slot."""

from __future__ import annotations

import hashlib
import math
import traceback
from collections.abc import Callable
from functools import partial
from random import Random
from time import perf_counter

import trio

from img2ds.blocklist.blocks import Blocks
from img2ds.config.options import Options
from img2ds.congestion.attribution import CONNECTING, RESOLVING, Fault
from img2ds.congestion.controller import Controller
from img2ds.congestion.host_control import HostControl
from img2ds.congestion.host_table import HostTable
from img2ds.congestion.outage import Outage
from img2ds.congestion.portal import page_of
from img2ds.congestion.silence_table import SilenceTable
from img2ds.core.failure import Failure, Reason, Retryability, failure, retryability
from img2ds.core.img2dataset_messages import HASH_MISMATCH
from img2ds.core.plugins import PluginError
from img2ds.core.sample import Body
from img2ds.downloader.blame import fault_of
from img2ds.downloader.held_pages import HeldPages
from img2ds.downloader.hosts import Hosts
from img2ds.downloader.renderer import KILLED, Renderer
from img2ds.downloader.row import Row, RowEnd
from img2ds.downloader.scheduler import Scheduler
from img2ds.downloader.shard import Shard
from img2ds.downloader.short_connect import ShortConnect
from img2ds.downloader.silence import SHORT, silence_failure
from img2ds.downloader.slots import Slot, Slots
from img2ds.image.boxes import BoxError, Boxes, read_boxes
from img2ds.image.digest import make_digest
from img2ds.net.budget import Budget
from img2ds.net.context import FetchContext
from img2ds.net.deadline import Deadline
from img2ds.net.fetcher import Fetcher
from img2ds.net.retry_rule import retry_delay
from img2ds.report.tally import Tally

#: Times that a row is retried after a failure of this machine itself or of the network, and the
#: seconds before the first retry and at most; an outage counts as no retry.
LOCAL_RETRIES, LOCAL_RETRY_DELAY, MAX_LOCAL_RETRY_DELAY = 20, 1.0, 15.0
#: Times that a row is retried when nobody can tell whose fault its failure is, and the seconds
#: before the first retry.
UNCLEAR_RETRIES, UNCLEAR_RETRY_DELAY = 2, 1.0
#: Rows active at once at a host that has not responded yet. The next row gains by the wait, too: it
#: finds an open connection.
FIRST_LIMIT = 1
#: Rows a slot that may wait for hosts that have not responded yet.
MAX_WAITING_PER_SLOT = 4
#: Local failures that come back with every attempt.
BUGS = {Reason.INTERNAL_ERROR.value, Reason.PLUGIN_ERROR.value}
#: Tracebacks kept a shard: one shows the fault, a thousand hide it.
MAX_NOTES = 3


class Pipeline:
    """Slots that work on the rows of a scheduler.

    Args:
        finished: called once for each shard, when its last row has ended.
        controller: knows what the network did during an attempt.
        table, silences: what this machine's workers share of hosts; None for a worker alone.
        blocks: of hashes; None without any.

    Attributes:
        scheduler: add shards here, and close it in the end.
    """

    def __init__(
        self,
        options: Options,
        fetcher: Fetcher,
        finished: Callable[[Shard], None],
        controller: Controller,
        renderer: Renderer,
        table: HostTable | None = None,
        silences: SilenceTable | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        self._blocks = blocks
        self._controller = controller
        network = options.network
        slots = network.thread_count
        control = HostControl(
            table or HostTable(), network.per_host_concurrency, network.per_host_rate
        )
        hosts: Hosts[Row] = Hosts(control, FIRST_LIMIT, MAX_WAITING_PER_SLOT * slots, silences)
        # Where no SYN is lost, waiting for another worker's row saves nothing and costs handshakes.
        path = controller.path
        hosts.asks_alone = lambda: path.is_long or not path.drops_syns
        self.scheduler = Scheduler(hosts)
        self._slots = Slots(slots, self.scheduler.next, self._work, path.requests)
        self._network = network
        self._fetcher = fetcher
        self._progress = Tally()
        self._finished = finished
        self._budget = Budget(options.run.memory_budget)
        self._renderer = renderer
        self._has_plugins = bool(options.image.filter or options.image.transform)
        verify = options.input.verify_hash
        self._hash_name = options.image.compute_hash
        self._computes_pdq = options.image.compute_pdq
        self._digest = make_digest(self._hash_name) if self._hash_name else None
        self._verify = make_digest(verify[1]) if verify else None
        self._verifies_digest = bool(verify) and verify[1] == options.image.compute_hash
        self._pages = HeldPages(self._settle_page)
        self._busy = 0  # rows in a slot
        self._random = Random()

    def take_progress(self) -> Tally:
        """Return what ended since the last call, for people who watch; shards count exactly."""
        taken, self._progress = self._progress, Tally()
        return taken

    async def run(self) -> None:
        """Run all slots until the scheduler is closed and every row has ended."""
        await self._slots.run()

    async def _work(self, row: Row, slot: Slot) -> None:
        """Bring a row to its end, or to its next attempt."""
        if row.shard.error is not None:
            self._end(row, RowEnd.SHARD_LOST)
            return
        if row.shares:
            shares, row.shares = row.shares, 0
            self._end_or_retry(row, silence_failure(shares))
            return
        boxes: Boxes = ()
        if row.shard.boxes is not None:
            try:
                boxes = read_boxes(row.shard.boxes[row.index])
            except BoxError as error:  # do not fetch an image that may not be kept
                self._end(row, failure(Reason.BAD_BOXES, str(error)))
                return
        started = trio.current_time()
        self._busy += 1
        with self._budget.lease() as lease:
            deadline = Deadline(self._network.timeout, self._network.max_time)
            if not row.asked_again:
                deadline.gives_up = partial(self._asks_again, row)
            on_response = partial(self.scheduler.record_response, row)
            may_keep = partial(self.scheduler.may_keep, row)
            context = FetchContext(lease, deadline, slot, slot.waiting, on_response, may_keep)
            context.on_connected = partial(self.scheduler.record_connection, row)
            if self.scheduler.silences(row):
                seconds = min(SHORT, self._controller.path.two_syns)
                context.connecting = ShortConnect(slot, deadline, seconds)
            outcome = await self._attempt(row, context, boxes)
        self._busy -= 1
        now = trio.current_time()
        if not isinstance(outcome, Failure):
            self._pages.add_image(now, row.host)
        if isinstance(outcome, Failure) and context.page is not None:
            self._pages.add(now, row, outcome, context.page)
        else:
            if isinstance(outcome, Failure) and outcome.reason in CONNECTING:
                started = slot.since  # before that, it waited until it might connect
            self._settle(row, outcome, fault_of(row, outcome, started, self._controller))
        self._pages.release(now, idle=not self._busy and not self._slots.waits)

    def _asks_again(self, row: Row) -> bool:
        """Return whether a row that is not answered is to be asked for again, which it is once."""
        row.asked_again = row.asked_again or self._controller.path.impatient
        return row.asked_again

    def _settle(self, row: Row, outcome: Failure | RowEnd, fault: Fault) -> None:
        """Bring a row on after an attempt."""
        if fault is not Fault.ROW:
            assert isinstance(outcome, Failure)
            self._give_back(row, outcome, fault)
        elif not self._goes_back(row, outcome):
            self._end_or_retry(row, outcome)

    def _settle_page(self, row: Row, outcome: Failure, portal: bool) -> None:
        """Bring a row on that was held: see `HeldPages`."""
        if portal:
            self._controller.path.portal_answered()
        # Another worker may have noticed it.
        shared = portal or self._controller.outage is Outage.PORTAL
        self._settle(row, outcome, Fault.SHARED if shared else Fault.ROW)

    def _give_back(self, row: Row, outcome: Failure, fault: Fault) -> None:
        """Try a row again that failed for no fault of its own; that takes none of its attempts."""
        if outcome.reason in RESOLVING:
            # Its host is not to blame: the host's other rows need not wait for this one.
            self.scheduler.record_response(row)
        elif outcome.reason in CONNECTING:
            row.started = -1.0  # nothing was learned of its host: one row asks it first, again
        if self._controller.outage is not Outage.NONE:
            self.scheduler.retry(row, LOCAL_RETRY_DELAY)
            return
        if outcome.shared and outcome.reason == Reason.STALLED.value:
            self.scheduler.retry(row, 0.0)  # at once, on another connection: see `_asks_again`
            return
        if fault is Fault.UNCLEAR:
            tries, most, base = row.unclear_failures, UNCLEAR_RETRIES, UNCLEAR_RETRY_DELAY
            row.unclear_failures += 1
        else:
            tries, most, base = row.local_failures, LOCAL_RETRIES, LOCAL_RETRY_DELAY
            row.local_failures += 1
        if tries >= most:
            self._end_or_retry(row, outcome)
            return
        delay = min(base * 2**tries, MAX_LOCAL_RETRY_DELAY)
        self.scheduler.retry(row, delay * self._random.uniform(0.5, 1.5))

    async def _attempt(self, row: Row, context: FetchContext, boxes: Boxes) -> Failure | RowEnd:
        """Make one attempt at a row."""
        shard = row.shard
        try:
            fetched = await self._fetcher.fetch(shard.urls[row.index], context)
            # The deadline's end moves by what the attempt waited for this process.
            began = context.deadline.ends_at - self._network.max_time
            shard.tally.fetches.add(trio.current_time() - began)
            if context.resolving >= 0:
                shard.tally.lookups.add(context.resolving)
            if isinstance(fetched, Failure):
                _note(row, fetched)
                return fetched
            return await self._transform(row, fetched.body, boxes, context)
        except PluginError as error:
            _note(row, error.failure)
            return error.failure
        except Exception as fault:
            # The only broad except of a worker: a bug costs one row, is counted and logged.
            if len(shard.notes) < MAX_NOTES:
                shard.notes.append(f"{shard.urls[row.index]}: {traceback.format_exc()}")
            return failure(Reason.INTERNAL_ERROR, f"internal error: {type(fault).__name__}")

    async def _transform(
        self, row: Row, body: Body, boxes: Boxes, context: FetchContext
    ) -> Failure | RowEnd:
        """Turn a body into a sample and store it."""
        shard = row.shard
        shard.tally.bytes_received += len(body)
        self._progress.bytes_received += len(body)
        started = perf_counter()
        digest = self._digest(body) if self._digest is not None else None
        if self._verify is not None and shard.hashes is not None:
            expected = shard.hashes[row.index]
            found = digest if self._verifies_digest else self._verify(body)
            if expected is None or found != expected.strip().lower():
                return failure(Reason.HASH_MISMATCH, HASH_MISMATCH)
        if self._blocks:
            blocked = self._blocks.judge_body(body, self._hash_name, digest)
            if blocked is not None:
                return blocked
        if digest is not None:
            shard.digest(row.index, digest)
        compares_pdq = self._blocks is not None and self._blocks.has_pdq
        image = self._renderer.inspect(body, boxes, self._computes_pdq or compares_pdq)
        if isinstance(image, Failure):
            context.page = page_of(image.reason, body, context.final_host)
            return image
        if self._has_plugins:
            image.row = shard.given(row.index)
        encoded = await self._renderer.render(image)
        transformed = perf_counter()
        self._progress.seconds["transform"] += transformed - started
        if isinstance(encoded, Failure):
            if encoded.reason in KILLED:
                digest = hashlib.sha256(body).hexdigest()
                shard.notes.append(f"{shard.urls[row.index]}: {encoded.message}, sha256 {digest}")
            _note(row, encoded)
            return encoded
        if self._blocks and encoded.pdq is not None:
            blocked = self._blocks.judge_pdq(encoded.pdq)
            if blocked is not None:
                return blocked
        try:
            shard.store(row.index, encoded)
        except OSError as fault:
            shard.error = fault
            return RowEnd.SHARD_LOST
        self._progress.add_success(len(encoded.data))
        self._progress.seconds["write"] += perf_counter() - transformed
        return RowEnd.STORED

    def _goes_back(self, row: Row, outcome: Failure | RowEnd) -> bool:
        """Record what an attempt says of the row's host. Returns whether the row waits with it."""
        fault = outcome if isinstance(outcome, Failure) else None
        if fault is not None and fault.reason == Reason.CONNECT_TIMEOUT.value:
            if fault.via_other_host:
                self.scheduler.record_response(row)
                return False
            clear_for, row.clear_for = row.clear_for, 0.0
            return self.scheduler.record_silence(row, clear_for or math.inf).waits
        if fault is not None and retryability(fault.reason) is Retryability.LOCAL:
            return False
        return self.scheduler.record(row, fault)

    def _end_or_retry(self, row: Row, outcome: Failure | RowEnd) -> None:
        delay = self._retry_delay(row, outcome) if isinstance(outcome, Failure) else None
        if delay is None:
            self._end(row, outcome)
        else:
            self.scheduler.retry(row, delay)

    def _retry_delay(self, row: Row, outcome: Failure) -> float | None:
        """Count a failed attempt. Returns the seconds until the next, None without one."""
        if retryability(outcome.reason) is Retryability.LOCAL:
            if outcome.reason in BUGS or row.local_failures >= LOCAL_RETRIES:
                return None
            row.local_failures += 1
            return LOCAL_RETRY_DELAY
        row.attempts += 1
        # An attempt that timed out for other rows of the host need not be repeated for this one.
        attempts = max(row.attempts, self.scheduler.silences(row))
        return retry_delay(outcome, attempts, self._network.retries, self._random)

    def _end(self, row: Row, outcome: Failure | RowEnd) -> None:
        """End a row: the only place where rows end."""
        shard = row.shard
        if isinstance(outcome, Failure):
            shard.fail(row.index, outcome)
            self._progress.add_failure(outcome)
        self.scheduler.end(row)
        if shard.end_row():
            self._finished(shard)


def _note(row: Row, failed: Failure) -> None:
    """Keep the traceback of a plug-in for the log."""
    shard = row.shard
    if failed.traceback is not None and len(shard.notes) < MAX_NOTES:
        shard.notes.append(f"{shard.urls[row.index]}: {failed.message}\n{failed.traceback}")
