"""`--output_format litdata` as LitData reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

import img2ds
from tests.server.served_rows import ROWS, serve_rows

litdata: Any = pytest.importorskip("litdata", reason="make compat installs it")


@pytest.fixture(scope="module")
def web() -> Iterator[dict[str, Any]]:
    with serve_rows(image_size=64) as flags:
        yield flags


@pytest.mark.parametrize("captions", [True, False], ids=["captions", "no captions"])
@pytest.mark.parametrize("encode_format", ["jpg", "png", "webp"])
def test_the_folder_is_a_streaming_dataset(
    encode_format: Literal["jpg", "png", "webp"],
    captions: bool,
    web: dict[str, Any],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    more: dict[str, Any] = {"caption_col": "caption"} if captions else {}
    report = img2ds.download(
        ROWS, output_folder=out, output_format="litdata", encode_format=encode_format, **web, **more
    )
    dataset = litdata.StreamingDataset(str(out))
    samples = [dataset[n] for n in range(len(dataset))]
    assert len(samples) == report.tally.successes
    texts = {row["url"]: row["caption"] for row in ROWS}
    for sample in samples:
        row = json.loads(sample["json"])
        assert row["key"] == sample["key"]
        assert sample.get("txt") == (texts[row["url"]] if captions else None)
        image = sample[encode_format]
        assert tuple(image.shape) == (3, 64, 64) if encode_format == "jpg" else len(image) > 100
    assert [s["key"] for s in samples] == sorted(s["key"] for s in samples)
