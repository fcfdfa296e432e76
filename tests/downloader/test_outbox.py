"""What waits to be sent is bounded: further tasks wait, in their own thread, and nothing else."""

from __future__ import annotations

import threading
from typing import Any

import pyarrow as pa
import pytest

from img2ds.core.sample import Sample
from img2ds.downloader import outbox
from img2ds.downloader.outbox import Outbox, PieceRows, SampleBatch, _paced
from img2ds.report.shard_report import Progress
from img2ds.report.tally import Tally


class Reader:
    """A parent that reads a message only when it is let."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self._reads = threading.Semaphore(0)

    def emit(self, message: Any) -> None:
        self._reads.acquire()
        self.messages.append(message)

    def read(self, times: int) -> None:
        self._reads.release(times)


def sample(key: int) -> Sample:
    return Sample(key, str(key), b"x" * 100, None, {})


def test_tasks_wait_while_much_is_unsent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_UNSENT", 250)
    reader = Reader()
    box = Outbox(reader.emit)
    tasks: Any = iter(range(2))
    paced = _paced(tasks, box)
    assert next(paced, None) is not None
    for key in range(3):
        box.add(0, sample(key))
    thread = threading.Thread(target=next, args=(paced, None))
    thread.start()
    assert list(tasks) == [1], "it was drawn"
    reader.read(10)
    thread.join()
    box.close()
    assert [s.key for batch in reader.messages for s in batch.samples] == ["0", "1", "2"]


def test_a_row_that_was_delivered_before_its_worker_died_has_not_failed() -> None:
    rows = pa.table({"key": ["0", "1", "2"], "status": ["success", *["failed_to_download"] * 2]})
    assert [row["key"] for row in PieceRows(0, rows).failures()] == ["1", "2"]
    assert [row["key"] for row in PieceRows(0, rows, frozenset("2")).failures()] == ["1"]


def test_messages_keep_their_order_and_old_progress_is_dropped() -> None:
    reader = Reader()
    box = Outbox(reader.emit)
    box.put("first")
    for message in (Progress(Tally()), Progress(Tally()), Progress(Tally())):
        box.put(message)
    box.add(3, sample(1))
    box.add(4, sample(2))
    box.put("last")
    reader.read(10)
    box.close()
    kinds = [type(m).__name__ if not isinstance(m, str) else m for m in reader.messages]
    assert kinds == ["first", "Progress", "SampleBatch", "SampleBatch", "last"]
    batches = [m for m in reader.messages if isinstance(m, SampleBatch)]
    assert [batch.number for batch in batches] == [3, 4]
