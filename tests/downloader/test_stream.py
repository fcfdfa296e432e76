"""Samples in memory: the same as a dataset's, bounded, each row once, ended at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import tarfile
from collections.abc import Iterator
from itertools import count, cycle
from pathlib import Path
from typing import Any

import pytest
import trio

import img2ds
from img2ds.core.failure import UsageError
from img2ds.downloader.stream import PIECE_ROWS
from tests.conftest import worker_path
from tests.server.fatal_decoder.images import fatal
from tests.server.good_image import good_image
from tests.server.sample_web import BackgroundWeb, links

IMAGES = 24
ROWS = [{"url": link.url, "caption": link.caption} for link in links(IMAGES)]
REASONS = {link.url: link.reason for link in links(IMAGES) if link.reason is not None}


@pytest.fixture(scope="module")
def web() -> Iterator[dict[str, Any]]:
    """The flags that send requests to a web with `IMAGES` images."""
    with BackgroundWeb([good_image()] * IMAGES) as address:
        yield flags(address)


def flags(address: str) -> dict[str, Any]:
    return {
        "connect_to": f"::{address}", "allow_private_addresses": True, "image_size": 64,
        "processes_count": 1,
    }  # fmt: skip


def children() -> set[int]:
    """The worker processes of this process."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parent = status.read_text().partition("PPid:\t")[2].split()[0]
            command = (status.parent / "cmdline").read_bytes()
            if int(parent) == os.getpid() and b"img2ds.engine.distributors.local" in command:
                found.add(int(status.parent.name))
    return found


def test_samples_are_those_of_a_dataset(web: dict[str, Any], tmp_path: Path) -> None:
    failed: list[dict[str, Any]] = []
    stream = img2ds.stream(ROWS, caption_col="caption", on_failure=failed.append, **web)
    samples = {sample.url: sample for sample in stream}
    report = img2ds.download(
        ROWS, output_folder=str(tmp_path), output_format="webdataset", caption_col="caption", **web
    )
    with tarfile.open(tmp_path / "00000.tar") as tar:
        files = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    assert sorted(bytes(s.image) for s in samples.values()) == sorted(
        data for name, data in files.items() if name.endswith(".jpg")
    )
    assert len(samples) == IMAGES == report.tally.successes
    for row in ROWS:
        if row["url"] in samples:
            assert samples[row["url"]].caption == row["caption"]
            assert samples[row["url"]].metadata["width"] == 64
    assert {row["url"]: row["reason"] for row in failed} == REASONS
    assert (stream.tally.successes, stream.tally.reasons) == (IMAGES, report.tally.reasons)


def test_all_rows_as_a_table(web: dict[str, Any]) -> None:
    table = img2ds.stream(ROWS, caption_col="caption", **web).read_all()
    assert table["url"].to_pylist() == [row["url"] for row in ROWS]
    assert table["image"].null_count == len(REASONS)
    assert dict(zip(table["url"].to_pylist(), table["reason"].to_pylist(), strict=True)) == {
        row["url"]: REASONS.get(row["url"]) for row in ROWS
    }
    empty = img2ds.stream([], caption_col="caption", **web).read_all()
    assert empty.column_names == table.column_names


def test_workers_of_a_loader_share_the_list(web: dict[str, Any]) -> None:
    """Pieces go to the ranks in turn, and keys are those of the whole list."""
    urls = [row["url"] for row in ROWS if row["url"] not in REASONS]
    many = [url for _, url in zip(range(2 * PIECE_ROWS + 3), cycle(urls), strict=False)]
    parts = [
        {s.key for s in img2ds.stream(many, rank=rank, world_size=2, **web)} for rank in (0, 1)
    ]
    assert [len(part) for part in parts] == [PIECE_ROWS + 3, PIECE_ROWS]
    assert not parts[0] & parts[1]
    with pytest.raises(UsageError, match="rank is from 0 to 1 with world_size=2, got 2"):
        img2ds.stream(many, rank=2, world_size=2, **web)


def test_an_endless_list_may_be_left_at_any_moment(web: dict[str, Any]) -> None:
    drawn = []

    def endless() -> Iterator[str]:
        for n in count():
            drawn.append(n)
            yield ROWS[n % len(ROWS)]["url"]

    before = children()
    for sample in img2ds.stream(endless(), **web):
        assert children() > before
        assert sample.image
        break
    assert children() == before
    assert len(drawn) < 8 * PIECE_ROWS
    with img2ds.stream(cycle(ROWS), **web) as stream:
        next(stream)
    assert children() == before
    assert next(stream, None) is None


def test_under_trio_and_asyncio(web: dict[str, Any]) -> None:
    async def read_all() -> int:
        return len([sample async for sample in img2ds.stream(ROWS, **web)])

    async def cancel() -> None:
        with trio.CancelScope() as scope:
            async for _ in img2ds.stream(cycle(ROWS), **web):
                scope.cancel()
        assert scope.cancelled_caught or scope.cancel_called

    before = children()
    assert trio.run(read_all) == IMAGES
    assert asyncio.run(read_all()) == IMAGES
    trio.run(cancel)
    while children() != before:  # the thread that was left ends them
        pass


def test_images_that_kill_their_worker_cost_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other sample is lost, and none comes twice."""
    monkeypatch.setenv("PYTHONPATH", worker_path())
    images = [good_image()] * IMAGES
    images[5] = fatal(b"abort")
    with BackgroundWeb(images) as address:
        failed: list[dict[str, Any]] = []
        urls = [f"http://h.example/photo/{n}.jpg" for n in range(IMAGES)]
        stream = img2ds.stream(urls, on_failure=failed.append, **flags(address))
        got = [sample.url for sample in stream]
    assert sorted(got) == sorted(set(urls) - {urls[5]})
    assert [(row["url"], row["reason"]) for row in failed] == [(urls[5], "decoder_crash")]


def test_wrong_use_is_refused_before_any_process_starts(tmp_path: Path) -> None:
    before = children()
    for error, values, more in (
        ("output_format is of no meaning to a stream", [], {"output_format": "files"}),
        ("did you mean --image_size", [], {"imagesize": 3}),
        ("no file or folder", str(tmp_path / "none.txt"), {}),
        ("url_list is of type int", 3, {}),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=error):
            img2ds.stream(values, **more)
    assert children() == before


def test_a_list_that_vanishes_is_an_error_and_not_an_end(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"url": ["http://a.example/1.jpg"]}), path)
    stream = img2ds.stream(path, processes_count=1)
    path.unlink()
    with pytest.raises(RuntimeError, match="1 row lost: cannot start the shard"):
        next(stream)


def test_the_image_is_a_picture(web: dict[str, Any]) -> None:
    from PIL import Image

    sample = next(img2ds.stream([ROWS[0]["url"]], **web))
    assert Image.open(io.BytesIO(sample.image)).size == (64, 64)
    assert os.fspath(sample.url) == ROWS[0]["url"]
