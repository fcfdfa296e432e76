"""One shard: rows of any Arrow type in, and nothing of a row lost on the way."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.config.options import Options
from img2ds.core.failure import Reason, failure
from img2ds.core.sample import Encoded, ShardTask
from img2ds.downloader.dataset_sink import DatasetSink
from img2ds.downloader.shard import Shard
from img2ds.engine.shard_output import ShardOutput
from img2ds.storage import OutputFolder
from tests.contract.samples_and_readers import read_tar

URLS = ["http://a.example/ä.jpg", None, "http://b.example/"]
BYTES = [url if url is None else url.encode() for url in URLS]
TEXT: list[Any] = [
    pa.array(URLS),
    pa.array(URLS, pa.large_string()),
    pa.array(URLS).dictionary_encode(),
    pa.array(BYTES, pa.binary()),
    pa.array(BYTES, pa.large_binary()),
    pa.array(BYTES, pa.binary()).dictionary_encode(),
]
if hasattr(pa, "string_view"):
    TEXT += [pa.array(URLS, pa.string_view()), pa.array(BYTES, pa.binary_view())]


def shard(folder: OutputFolder, column: Any) -> Shard:
    options = Options.from_flags(
        {
            "url_list": "unused", "output_format": "webdataset", "url_col": "u",
            "caption_col": "c", "save_additional_columns": ["more"],
        }
    )  # fmt: skip
    table = pa.table({"u": TEXT[0], "c": column, "more": column})
    return Shard(ShardTask(0, 3, table), table, options, sink(folder, options))


def sink(folder: OutputFolder, options: Options) -> DatasetSink:
    return DatasetSink(ShardOutput(folder, 0), options)


@pytest.mark.parametrize("column", TEXT, ids=lambda column: str(column.type))
def test_text_is_text_whatever_its_type(tmp_path: Path, column: Any) -> None:
    options = Options.from_flags({"url_list": "unused", "output_format": "webdataset"})
    table = pa.table({"url": column})
    target = sink(OutputFolder.open(str(tmp_path)), options)
    made = Shard(ShardTask(0, 3, table), table, options, target)
    assert made.urls == URLS
    lost = target.fail(OSError("no"), ["a fault"])
    assert (lost.fatal, lost.notes) == (True, ("a fault",))


VALUES: list[tuple[Any, Any]] = [
    (pa.array([1, 2, None], pa.timestamp("ns")), "1970-01-01 00:00:00.000000001"),
    (pa.array([2**58, 0, 0], pa.timestamp("us")), "11103-08-29 17:22:31.711744"),
    (pa.array([datetime.date(2026, 1, 2)] * 3), "2026-01-02"),
    (pa.array([b"raw \xff"] * 3, pa.binary()), "raw \ufffd"),
    (pa.array([[1], [2], []]), [1]),
    (pa.array([float("nan")] * 3), None),
    (pa.nulls(3), None),
]


@pytest.mark.parametrize(("column", "expected"), VALUES, ids=lambda v: str(getattr(v, "type", "")))
def test_additional_columns_of_any_type(tmp_path: Path, column: Any, expected: Any) -> None:
    folder = OutputFolder.open(str(tmp_path))
    made = shard(folder, column)
    made.store(0, Encoded(b"image", 1, 1, 1, 1, "{}"))
    for index in (1, 2):
        made.fail(index, failure(Reason.BAD_URL))
    assert made.commit().error is None
    ((_, _, row),) = read_tar(tmp_path / "00000.tar").values()
    assert row["more"] == expected
    assert pq.read_table(tmp_path / "00000.parquet")["more"].type == column.type
