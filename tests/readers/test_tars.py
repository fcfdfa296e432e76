"""Tars of img2ds in webdataset and wids, and tars of webdataset in laion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from img2ds.core.sample import Sample
from img2ds.formats.webdataset import TarWriter
from laion.samples.source import find_shards
from tests.server.good_image import good_image

KEYS = [f"{number:09d}" for number in range(4)]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A tar as img2ds writes it."""
    import pyarrow as pa

    path = tmp_path / "00000.tar"
    writer = TarWriter(path.name, "jpg", lambda name: str(tmp_path / name))
    for index, key in enumerate(KEYS):
        fields = {"key": key, "url": f"http://h.example/{index}", "score": None}
        writer.add(Sample(index, key, good_image(), f"caption {index} é", fields))
    writer.finish(pa.table({}))
    return path


def test_webdataset_reads_them(shard: Path) -> None:
    webdataset: Any = pytest.importorskip("webdataset")
    samples = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == KEYS
    assert [sample["txt"].decode() for sample in samples] == [f"caption {n} é" for n in range(4)]
    assert json.loads(samples[1]["json"])["url"] == "http://h.example/1"
    assert samples[0]["jpg"] == good_image()


def test_wids_finds_samples_by_number(shard: Path) -> None:
    wids: Any = pytest.importorskip("wids")
    description = {"url": str(shard), "nsamples": len(KEYS)}
    found = wids.ShardListDataset([description], transformations=[])
    assert len(found) == len(KEYS)
    sample = found[2]
    assert sample["__key__"] == KEYS[2]
    data = {name: value for name, value in sample.items() if name.startswith(".")}
    assert data[".jpg"].read() == good_image()
    assert data[".txt"].read().decode() == "caption 2 é"


@pytest.mark.parametrize("name", ["0.tar", "0.tar.gz"])
def test_tars_of_webdataset_are_read(tmp_path: Path, name: str) -> None:
    webdataset: Any = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(tmp_path / name)) as writer:
        for index, key in enumerate(KEYS):
            writer.write(
                {"__key__": key, "jpg": good_image(), "txt": f"text {index}", "json": {"a": index}}
            )
    samples = [s for shard in find_shards(str(tmp_path)).shards for s in shard.samples()]
    assert [(s.key, s.caption, s.fields) for s in samples] == [
        (key, f"text {index}", {"a": index}) for index, key in enumerate(KEYS)
    ]
    assert all(sample.body == good_image() for sample in samples)
