"""Parquet with images: in the order of the keys, in row groups of a size, packed if it pays."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.core.sample import Sample
from img2ds.formats.data_file import BUFFER
from img2ds.formats.parquet import GROUP_BYTES, ParquetWriter


def write(folder: Path, sizes: list[int | None], **columns: pa.Array) -> pq.ParquetFile:
    """A shard of images of these sizes, None for rows that failed; they come in any order."""
    writer = ParquetWriter("0.parquet", "jpg", lambda name: str(folder / name))
    order = [index for index, size in enumerate(sizes) if size is not None]
    Random(4).shuffle(order)
    for index in order:
        writer.add(Sample(index, str(index), image_bytes(index, sizes[index] or 0), None, {}))
    assert os.listdir(folder) == [], "nothing that a killed process would leave"
    table = pa.table({"key": [str(index) for index in range(len(sizes))], **columns})
    (record,) = writer.finish(table)
    assert os.listdir(folder) == ["0.parquet"]
    assert record.size == os.path.getsize(folder / "0.parquet")
    return pq.ParquetFile(folder / "0.parquet")


def image_bytes(index: int, size: int) -> bytes:
    return bytes([index % 251]) * size


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([], []),
        ([None] * 3, [3]),
        ([5, None, 7], [3]),
        ([GROUP_BYTES], [1]),
        ([GROUP_BYTES - 1, 1, 1], [2, 1]),
        ([None, 2 * GROUP_BYTES, None, GROUP_BYTES, None], [2, 2, 1]),
        ([GROUP_BYTES // 4] * 10, [4, 4, 2]),
    ],
)
def test_rows_are_in_order_and_groups_are_small(
    sizes: list[int | None], groups: list[int], tmp_path: Path
) -> None:
    with write(tmp_path, sizes) as file:
        found = [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)]
        assert found == groups
        rows = file.read().to_pylist()
    assert [row["key"] for row in rows] == [str(index) for index in range(len(sizes))]
    for index, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        assert row["jpg"] == (None if size is None else image_bytes(index, size))


def test_images_are_stored_uncompressed_and_other_columns_packed(tmp_path: Path) -> None:
    lists = pa.array([[1.5, 2.5]] * 9, pa.list_(pa.float32()))
    structs = pa.array([{"a": "x" * 99}] * 9)
    with write(tmp_path, [1000] * 9, scores=lists, more=structs) as file:
        group = file.metadata.row_group(0)
        columns = [group.column(n) for n in range(group.num_columns)]
    assert [column.path_in_schema for column in columns] == [
        "key", "scores.list.element", "more.a", "jpg",
    ]  # fmt: skip
    *others, images = columns
    assert {column.compression for column in others} == {"SNAPPY"}
    assert all(column.has_dictionary_page and column.is_stats_set for column in others)
    assert images.compression == "UNCOMPRESSED"
    assert not images.has_dictionary_page
    assert not images.is_stats_set


def test_a_shard_is_never_in_memory(tmp_path: Path) -> None:
    """Images are held in memory neither while they arrive nor while rows are written."""
    import tracemalloc

    image = os.urandom(1 << 20)
    writer = ParquetWriter("0.parquet", "jpg", lambda name: str(tmp_path / name))
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    for index in range(64):
        writer.add(Sample(index, str(index), image, None, {}))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.reset_peak()
    writer.finish(pa.table({"key": [str(index) for index in range(64)]}))
    assert tracemalloc.get_traced_memory()[1] < 2 * GROUP_BYTES
    tracemalloc.stop()
    assert pa.total_allocated_bytes() - before < GROUP_BYTES


def test_truncated_images_raise_oserror(tmp_path: Path) -> None:
    writer = ParquetWriter("0.parquet", "jpg", lambda name: str(tmp_path / name))
    writer.add(Sample(0, "0", bytes(BUFFER), None, {}))
    writer._spool._file.truncate(10)
    with pytest.raises(OSError, match="spool file of images was truncated"):
        writer.finish(pa.table({"key": ["0"]}))
