"""Partial shards: saved, and completed later: by the last pass of a run, or by the next run."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio

from img2ds.config.options import FLAGS, Options
from img2ds.congestion.machine import Machine
from img2ds.core.failure import Failure
from img2ds.core.sample import Encoded, Fetched, RowRange, ShardTask
from img2ds.downloader import worker
from img2ds.downloader.dataset_sink import DatasetSink
from img2ds.downloader.shard import Shard
from img2ds.downloader.shard_opener import ShardOpener
from img2ds.downloader.shard_worker import Pass
from img2ds.downloader.worker import _Run
from img2ds.engine.distributors.contract import TaskStream
from img2ds.engine.shard_output import ShardOutput
from img2ds.formats.table import open_reader
from img2ds.net.context import FetchContext
from img2ds.report.shard_report import ShardReport
from img2ds.storage import OutputFolder
from tests.run_on_virtual_clock import run
from tests.server.good_image import good_image

FORMATS = FLAGS["output_format"].metadata["choices"]
COUNT = 12
#: How the rows end; the others do when the shard is taken up again.
STORED, FAILED = (7, 0, 3), (1, 5)


def options_of(output_format: str = "webdataset", **more: Any) -> Options:
    return Options.from_flags(
        {"url_list": "unused", "output_format": output_format, "caption_col": "text",
         "save_additional_columns": ["score"], "compute_hash": "sha256", **more}
    )  # fmt: skip


def task_of(number: int = 7, count: int = COUNT) -> ShardTask:
    rows = {
        "url": [f"http://example.org/{number}/{index}.jpg" for index in range(count)],
        "text": [None if index % 5 == 0 else f"caption ä {index}" for index in range(count)],
        "score": [index / 7 for index in range(count)],
    }
    return ShardTask(number, count, pa.table(rows))


def image(index: int) -> Encoded:
    data = hashlib.shake_256(b"%d" % index).digest(100 * index)
    return Encoded(data, 256, 200 + index, 640, 480, '{"Make": "x"}')


def end(shard: Shard, index: int) -> None:
    shard.digest(index, f"digest {index}")
    if index in FAILED:
        shard.fail(index, Failure("http_404", "HTTP status 404"))
    else:
        shard.store(index, image(index))
    shard.end_row()


def begun(folder: OutputFolder, options: Options, task: ShardTask) -> Shard:
    output = ShardOutput(folder, task.shard_id)
    assert isinstance(task.rows, pa.Table)
    shard = Shard(task, task.rows, options, DatasetSink(output, options))
    for index in (*STORED, *FAILED):
        end(shard, index)
    return shard


def stored(folder: OutputFolder, options: Options) -> dict[str, dict[str, bytes]]:
    reader = open_reader(folder, "00007", options.output.output_format, "jpg")
    return {sample.key: sample.parts for sample in reader.samples()}


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_partial_shard_ends_like_any_other(output_format: str, tmp_path: Path) -> None:
    options = options_of(output_format)
    calm, folder = (OutputFolder.open(str(tmp_path / name)) for name in ("calm", "out"))
    for place in (calm, folder):
        place.check_writable()
    undisturbed = begun(calm, options, task_of())
    report = begun(folder, options, task_of()).save_partial()
    assert (report.error, report.tally.count) == (None, 5)
    assert folder.names() == [".img2ds"]
    later = report.later
    # The rows travel with the partial shard, not through the parent.
    assert isinstance(later.rows, RowRange)
    shard = ShardOpener(options, folder)(later)
    assert isinstance(shard, Shard)
    assert (shard.left, shard.tally.count) == (COUNT - 5, 5)
    for index in range(COUNT):
        if not shard.has_ended(index):
            end(shard, index)
            end(undisturbed, index)
    made, wanted = shard.commit(), undisturbed.commit()
    assert made.error is None
    assert made.tally == wanted.tally
    assert stored(folder, options) == stored(calm, options)
    for file in (tmp_path / "calm").glob("*.parquet"):
        assert pq.read_table(tmp_path / "out" / file.name).equals(pq.read_table(file))
    assert not any((tmp_path / "out" / ".img2ds" / "partial").glob("*/00007*"))


def damage_data(partial: Path) -> None:
    path = partial / "00007.tar"
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)


def damage_marker(partial: Path) -> None:
    (partial / "00007_stats.json").write_text("{")


def lose_rows(partial: Path) -> None:
    (partial / "00007_rows.parquet").unlink()


def swap_rows(partial: Path) -> None:
    path = partial / "00007_rows.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(list(reversed(range(COUNT)))), path)


@pytest.mark.parametrize("damage", [damage_data, damage_marker, lose_rows, swap_rows])
def test_a_damaged_partial_shard_is_made_anew(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    options, folder = options_of(), OutputFolder.open(str(tmp_path))
    folder.check_writable()
    assert begun(folder, options, task_of()).save_partial().error is None
    partial_shards = tmp_path / ".img2ds" / "partial" / "0"
    damage(partial_shards)
    shard = ShardOpener(options, folder)(task_of())
    assert isinstance(shard, Shard)
    assert (shard.left, shard.tally.count) == (COUNT, 0)
    assert "is damaged" in shard.notes[0]
    assert not any(partial_shards.glob("00007*"))
    for index in range(COUNT):
        end(shard, index)
    assert shard.commit().error is None
    assert len(stored(folder, options)) == COUNT - len(FAILED)


def test_other_captions_are_other_rows(tmp_path: Path) -> None:
    """As of standard input, which is not compared before."""
    options, folder = options_of(), OutputFolder.open(str(tmp_path))
    folder.check_writable()
    assert begun(folder, options, task_of()).save_partial().error is None
    task = task_of()
    assert isinstance(task.rows, pa.Table)
    texts = pa.array(["another", *task.rows["text"].to_pylist()[1:]])
    changed = replace(task, rows=task.rows.set_column(1, "text", texts))
    shard = ShardOpener(options, folder)(changed)
    assert isinstance(shard, Shard)
    assert (shard.left, shard.tally.count) == (COUNT, 0)
    assert "it has other rows" in shard.notes[0]


def test_saving_again_that_fails_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, folder = options_of(), OutputFolder.open(str(tmp_path))
    folder.check_writable()
    later = begun(folder, options, task_of()).save_partial().later

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    for failing in (True, False, False):
        shard = ShardOpener(options, folder)(task_of())
        assert isinstance(shard, Shard)
        index = next(i for i in range(COUNT) if not shard.has_ended(i))
        before = shard.tally.count
        end(shard, index)
        with monkeypatch.context() as patch:
            if failing:
                patch.setattr("img2ds.downloader.dataset_sink.write_metadata", full)
            assert (shard.save_partial().error is not None) is failing
        again = ShardOpener(options, folder)(task_of())
        assert isinstance(again, Shard)
        assert again.tally.count == before + (not failing)
        again.abandon()
    assert len(list((tmp_path / ".img2ds" / "partial").glob("*/00007_stats.json"))) == 1
    assert later is not None


class LateHost:
    """A fetcher: a row of `late` waits for 25 s the first time, all others give an image."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def fetch(self, url: str | None, context: FetchContext) -> Fetched | Failure:
        assert url is not None
        await trio.sleep(0.01)
        async with context.connecting:
            context.on_response()
        self.asked.append(url)
        if "late" in url and self.asked.count(url) == 1:
            return Failure("http_429", "HTTP status 429", retry_after=25.0)
        return Fetched(good_image())

    async def aclose(self) -> None:
        pass


def run_worker(
    tmp_path: Path, fetcher: LateHost, tasks: Iterator[Any], makes: Pass, **more: Any
) -> list[ShardReport[Any]]:
    options = options_of(thread_count=4, caption_col=None, save_additional_columns=None, **more)
    folder = OutputFolder.open(str(tmp_path))
    folder.check_writable()
    ended: list[ShardReport[Any]] = []

    def emit(report: Any) -> None:
        if isinstance(report, ShardReport):
            ended.append(report)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "open_fetcher", lambda *_: fetcher)
        opener = ShardOpener(options, folder)
        run(_Run(options, opener, tasks, emit, makes, Machine()).main, limit=2000)
    return ended


def mixed(number: int) -> ShardTask:
    """One row of a late host, and three others."""
    hosts = (f"late{number}", *(f"host{number}{n}" for n in range(3)))
    return ShardTask(number, 4, pa.table({"url": [f"http://{h}/{number}.jpg" for h in hosts]}))


def test_late_rows_hold_no_shard_open(tmp_path: Path) -> None:
    """When no further shard may be opened, those whose rows all wait are saved."""
    fetcher = LateHost()
    first = run_worker(tmp_path, fetcher, map(mixed, range(9)), Pass.FIRST)
    assert all(report.error is None for report in first)
    partial_ones = [report for report in first if report.later is not None]
    assert len(first) == 9
    assert len(partial_ones) >= 4
    assert {report.tally.count for report in partial_ones} == {3}
    last = run_worker(tmp_path, fetcher, iter([r.later for r in partial_ones]), Pass.LAST)
    assert {report.shard_id for report in last} == {report.shard_id for report in partial_ones}
    assert {report.tally.successes for report in last} == {4}
    asked = [url for url in fetcher.asked if "late" not in url]
    assert sorted(asked) == sorted(set(asked))  # nothing is asked for twice


def test_a_stopped_worker_ends_within_the_grace_time(tmp_path: Path) -> None:
    """Rows that wait are not waited for; tasks that were not begun come back as they were."""
    fetcher = LateHost()
    tasks = TaskStream()
    for number in range(8):
        tasks.put(mixed(number))

    class Stopping(LateHost):
        async def fetch(self, url: str | None, context: FetchContext) -> Fetched | Failure:
            if len(self.asked) == 6:
                tasks.stop()
            return await super().fetch(url, context)

    fetcher = Stopping()
    ended = run_worker(tmp_path, fetcher, tasks, Pass.FIRST, grace_seconds=15)
    assert sorted(report.shard_id for report in ended) == list(range(8))
    assert all(report.error is None and report.later is not None for report in ended)
    begun_shards = [report for report in ended if report.tally.count]
    assert begun_shards
    assert {str(report.later.rows)[:8] for report in begun_shards} == {"RowRange"}
    assert all(report.later.shard_id == report.shard_id for report in ended)


def test_rows_that_hang_are_cut_off_after_the_grace_time(tmp_path: Path) -> None:
    tasks = TaskStream()
    tasks.put(mixed(0))
    times: list[float] = []

    class Hanging(LateHost):
        async def fetch(self, url: str | None, context: FetchContext) -> Fetched | Failure:
            if url is not None and "host00" in url:
                times.append(trio.current_time())
                tasks.stop()
                try:
                    await trio.sleep_forever()
                finally:
                    times.append(trio.current_time())
            return await super().fetch(url, context)

    (report,) = run_worker(tmp_path, Hanging(), tasks, Pass.FIRST, grace_seconds=20)
    assert (report.error, report.tally.successes) == (None, 2)
    assert 20 <= times[1] - times[0] <= 21


def test_a_stop_wakes_a_worker_that_waits_for_a_task() -> None:
    pulling: list[None] = []
    tasks = TaskStream(partial(pulling.append, None))
    tasks.put("a")
    assert next(tasks) == "a"
    tasks.put("b")
    tasks.stop()
    tasks.put("c")
    assert list(tasks) == ["b", "c"]
    assert pulling == []
    assert list(tasks) == []


def test_the_end_of_tasks_is_final() -> None:
    tasks = TaskStream()
    for task in ("a", None):
        tasks.put(task)
    assert list(tasks) == ["a"]
    tasks.put("b")
    assert list(tasks) == []
