"""Finished folders in what trains on them: OpenCLIP's data pipeline, and tf.data as documented."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import img2ds
from tests.downloader.test_job import Background, network
from tests.server.sample_web import links

IMAGES, PER_SHARD = 12, 5


def download(tmp_path: Path, output_format: Literal["webdataset", "tfrecord"]) -> list[str]:
    """Download to `out`. Returns the captions of its samples."""
    listed = list(links(IMAGES))
    rows = {"url": [link.url for link in listed], "caption": [f"text {n}" for n in range(14)]}
    pq.write_table(pa.table(rows), tmp_path / "list.parquet")
    with Background() as address:
        img2ds.download(
            url_list=str(tmp_path / "list.parquet"), output_folder=str(tmp_path / "out"),
            image_size=32, caption_col="caption", output_format=output_format,
            number_sample_per_shard=PER_SHARD, processes_count=1,
            sizes_json=output_format == "webdataset", **network(address),
        )  # fmt: skip
    return [f"text {n}" for n, link in enumerate(listed) if link.reason is None]


@pytest.mark.parametrize("is_train", [True, False])
def test_openclip_reads_every_sample(tmp_path: Path, is_train: bool) -> None:
    """It finds the number of samples in sizes.json."""
    webdataset: Any = pytest.importorskip("webdataset")
    if not webdataset.__version__.startswith("0."):
        pytest.skip("OpenCLIP needs webdataset 0.2: make compat")
    data: Any = pytest.importorskip("open_clip_train.data")
    captions = download(tmp_path, "webdataset")
    tars = str(tmp_path / "out/{00000..00002}.tar")
    arguments = SimpleNamespace(
        train_data=tars, val_data=tars, train_num_samples=None, val_num_samples=None,
        train_data_upsampling_factors=None, dataset_resampled=False, seed=0, workers=1,
        world_size=1, batch_size=1,
    )  # fmt: skip
    info = data.get_wds_dataset(
        arguments, lambda image: np.array(image), is_train, tokenizer=lambda text: [text]
    )
    if is_train:
        assert info.dataloader.num_samples == IMAGES
    found = list(info.dataloader)
    assert sorted(text for _, (text,) in found) == sorted(captions)
    assert {tuple(images.shape) for images, _ in found} == {(1, 32, 32, 3)}


def test_the_documented_tf_data_reads_every_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorflow")
    captions = download(tmp_path, "tfrecord")
    (code,) = re.findall(
        r"```python\n(import tensorflow.*?)```", Path("docs/formats.md").read_text(), re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").rename(tmp_path / "images")
    scope: dict[str, Any] = {}
    exec(code, scope)
    found = [(image.shape, text.numpy().decode()) for image, text in scope["dataset"]]
    assert sorted(text for _, text in found) == sorted(captions)
    assert {tuple(shape) for shape, _ in found} == {(32, 32, 3)}
