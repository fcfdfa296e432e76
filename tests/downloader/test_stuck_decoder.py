"""A run that stops while a decoder spins saves its shards all the same."""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import img2ds
from img2ds.core.sample import ShardTask
from img2ds.core.state import WORK
from img2ds.downloader.open_shards import OpenShards
from img2ds.downloader.stand_in import Lent, StandIn
from img2ds.engine.distributors.contract import TaskStream
from img2ds.report.shard_report import ShardReport
from img2ds.report.tally import Tally
from tests.conftest import worker_path
from tests.downloader.test_job import (
    ROOT,
    Background,
    flags,
    markers,
    network,
    samples,
    start,
    write_list,
)
from tests.server.encodings import jpeg
from tests.server.fatal_decoder.images import fatal
from tests.server.good_image import good_image

#: Rows of the list, and the one whose decoder spins.
ROWS, SPINS = 9, 5


def costly_image() -> bytes:
    """More pixels than the loop decodes itself."""
    return jpeg(np.full((2000, 2000, 3), 99, np.uint8))


@pytest.mark.parametrize("where", ["loop", "thread"])
def test_shards_are_saved_while_a_decoder_spins(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks, out = tmp_path / "spinning", tmp_path / "out"
    os.mkfifo(marks)
    data = None if where == "loop" else costly_image()
    images = [good_image()] * ROWS
    images[SPINS] = fatal(b"spin", data)
    environment = {
        **os.environ, "PYTHONPATH": worker_path(), "IMG2DS_TEST_SPINNING": str(marks),
    }  # fmt: skip
    arguments = flags("", write_list(tmp_path / "list.txt", 0, ROWS), out, processes_count=1)
    with Background(images=images) as address:
        arguments |= network(address) | {"thread_count": 1}
        process = start({**arguments, "grace_seconds": 0}, env=environment)
        with marks.open() as spinning:  # waits until it spins
            spinning.read()
        os.killpg(process.pid, signal.SIGTERM)
        output, errors = process.communicate()
        assert process.returncode == 130, errors
        assert "1 partial shard saved" in output
        assert markers(out) == {}
        (partial,) = (out / WORK / "partial").glob("*/*_stats.json")
        assert json.loads(partial.read_text())["count"] == SPINS
        monkeypatch.setenv("PYTHONPATH", str(ROOT))  # whose decoder does not obey
        report = img2ds.download(**arguments)
    assert (report.exit_code, report.tally.count, report.tally.successes) == (0, ROWS, ROWS)
    assert len({name.partition(".")[0] for name in samples(out)}) == ROWS


def test_the_stand_in_takes_the_place_of_a_stuck_loop_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("img2ds.downloader.stand_in.STUCK_AFTER", 0.001)
    for stuck in (True, False):
        lent, done = Lent(), threading.Event()
        calls: queue.SimpleQueue[str] = queue.SimpleQueue()

        def note(name: str, calls: Any = calls) -> Any:
            return lambda: calls.put(name) or True

        stand_in = StandIn(lent, 0, note("stops"), note("saves"), note("leaves"))
        stop = threading.Event()

        def loop(lent: Lent = lent, stuck: bool = stuck, done: Any = done) -> None:
            if stuck:
                with lent:
                    done.wait()

        thread = threading.Thread(target=loop)
        thread.start()
        stand_in.watch(stop)
        stop.set()
        assert calls.get(timeout=60) == "stops"
        if stuck:
            assert [calls.get(timeout=60) for _ in range(2)] == ["saves", "leaves"]
            done.set()
            thread.join(0.01)
            assert thread.is_alive()  # what the stand-in saves stays as it is
            lent._lock.release()
        thread.join()
        stand_in.close()
        assert calls.empty()


class FakeShard:
    can_save_partial = True

    def __init__(self, number: int, left: int) -> None:
        self.id, self.left = number, left

    def save_partial(self) -> ShardReport[Any]:
        return ShardReport(self.id, Tally(), 0.0, "saved")

    def commit(self) -> ShardReport[Any]:
        return ShardReport(self.id, Tally(), 0.0, "committed")


def test_every_task_is_reported_once() -> None:
    reports: list[ShardReport[Any]] = []
    shards, tasks = OpenShards(reports.append), TaskStream()
    for number in range(6):
        tasks.put(ShardTask(number, 1, None))
    for number in range(4):
        shards.pull(tasks)
        if number < 3:
            shard: Any = FakeShard(number, left=number % 2)
            shards.add(shard)
    shards.end(shards.shards[2], shards.shards[2].save_partial)
    tasks.stop()
    shards.save_all(tasks)
    assert [(report.shard_id, report.error) for report in reports] == [
        (2, "saved"), (0, "committed"), (1, "saved"), (3, None), (4, None), (5, None),
    ]  # fmt: skip
    assert [report.later is not None for report in reports] == [False] * 3 + [True] * 3
    shards.end(shards.shards[0], shards.shards[0].commit)
    assert len(reports) == 6
