"""How many shards a worker has open: several, or one where they were lost before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import trio

from img2ds.config.options import Options
from img2ds.congestion.machine import Machine
from img2ds.core.failure import UsageError
from img2ds.core.sample import ShardTask
from img2ds.downloader import process
from img2ds.downloader.shard_opener import ShardOpener
from img2ds.downloader.shard_worker import Pass
from img2ds.downloader.worker import _Run
from img2ds.report.shard_report import ShardReport
from img2ds.storage import OutputFolder


@pytest.mark.parametrize("makes", [Pass.FIRST, Pass.ISOLATED])
def test_shards_lost_before_run_one_at_a_time(tmp_path: Path, makes: Pass) -> None:
    options = Options.from_flags(
        {"url_list": "unused", "output_format": "webdataset", "thread_count": 4}
    )
    ended: list[int] = []
    ahead: list[int] = []

    def tasks() -> Iterator[ShardTask]:
        for number in range(8):
            ahead.append(number - len(ended))
            # Refused by their scheme: nothing is connected to.
            yield ShardTask(number, 2, pa.table({"url": ["ftp://a.example/", None]}))

    def emit(report: Any) -> None:
        if isinstance(report, ShardReport):
            assert report.error is None
            ended.append(report.shard_id)

    folder = OutputFolder.open(str(tmp_path))
    opener = ShardOpener(options, folder)
    trio.run(_Run(options, opener, tasks(), emit, makes, Machine()).main)
    assert sorted(ended) == list(range(8))
    assert (max(ahead) > 0) is (makes is Pass.FIRST)


def test_slots_that_cannot_have_their_sockets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number that the line names is the largest that is taken."""
    monkeypatch.setattr(process, "raise_descriptor_limit", lambda: 1024)

    def options(slots: int) -> Options:
        return Options.from_flags({"url_list": "unused", "thread_count": slots})

    with pytest.raises(UsageError, match="lower it to 329,"):
        process.check_descriptors(options(2000))
    process.check_descriptors(options(329))
    with pytest.raises(UsageError, match="--thread_count 330 needs 1025 open files"):
        process.check_descriptors(options(330))
