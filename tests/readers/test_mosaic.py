"""`--output_format mds` as mosaicml-streaming reads it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

import img2ds
from tests.server.served_rows import ROWS, serve_rows

streaming: Any = pytest.importorskip("streaming", reason="make compat installs it")


@pytest.fixture(scope="module")
def web() -> Iterator[dict[str, Any]]:
    with serve_rows(image_size=64, caption_col="caption") as flags:
        yield flags


@pytest.mark.parametrize("encode_format", ["jpg", "png", "webp"])
def test_the_folder_is_a_streaming_dataset(
    encode_format: Literal["jpg", "png", "webp"], web: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    report = img2ds.download(
        ROWS, output_folder=out, output_format="mds", encode_format=encode_format, **web
    )
    dataset = streaming.StreamingDataset(local=str(out), shuffle=False, batch_size=1)
    samples = list(dataset)
    assert len(dataset) == len(samples) == report.tally.successes
    captions = {row["url"]: row["caption"] for row in ROWS}
    for sample in samples:
        row = sample["json"]
        assert sample["txt"] == captions[row["url"]]
        assert row["key"] == sample["key"]
        image = sample[encode_format]
        if encode_format == "webp":
            image = Image.open(io.BytesIO(image))
        assert np.asarray(image).shape == (64, 64, 3)
    assert [s["key"] for s in samples] == sorted(s["key"] for s in samples)


def test_hashes_are_those_that_it_validates(web: dict[str, Any], tmp_path: Path) -> None:
    out, local = tmp_path / "out", tmp_path / "local"
    img2ds.download(ROWS, output_folder=out, output_format="mds", **web)
    dataset = streaming.StreamingDataset(
        remote=str(out), local=str(local), shuffle=False, batch_size=1, validate_hash="sha256"
    )
    assert len(list(dataset)) == len(dataset)
    index = json.loads((out / "index.json").read_text())
    assert {s["raw_data"]["basename"] for s in index["shards"]} <= set(os.listdir(local))
