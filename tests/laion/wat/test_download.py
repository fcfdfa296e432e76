"""img2ds reads the output of extract without a step in between."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import webdataset

import img2ds
from laion import cli
from tests.laion.wat.wat_records import image, metadata, response, wat
from tests.server.good_image import good_image
from tests.server.sample_web import BackgroundWeb

BY = "https://creativecommons.org/licenses/by/4.0/"
SMALL = b"GIF89a" + bytes(4000)


def test_candidates_are_downloaded_with_licence_and_language(tmp_path: Path) -> None:
    page = "http://h.example/gallery/index.html"
    links = [
        image(f"/photo/{n}.jpg", f"A red bicycle by the old wall, number {n}") for n in range(6)
    ]
    documents = [response([*links, {"path": "A@/href", "url": BY}], page), metadata("en", page)]
    (tmp_path / "made.warc.wat.gz").write_bytes(wat(documents))
    candidates = tmp_path / "candidates"
    source = ["--wat", str(tmp_path / "made.warc.wat.gz"), "--processes_count", "1"]
    assert cli.run(["extract", *source, "--output_folder", str(candidates)]) == 0
    with BackgroundWeb([good_image()] * 5 + [SMALL]) as address:
        report = img2ds.download(
            url_list=str(candidates),
            input_format="parquet",
            url_col="url",
            caption_col="text",
            save_additional_columns=["license", "language"],
            min_image_bytes=5000,
            output_folder=str(tmp_path / "images"),
            output_format="webdataset",
            processes_count=1,
            connect_to=f"::{address}",
            allow_private_addresses=True,
            timeout=300,
            max_time=300,
        )
    assert report.exit_code == 0
    assert report.tally.reasons == {"too_small": 1}
    rows = pq.read_table(tmp_path / "images" / "00000.parquet").to_pylist()
    assert {(row["license"], row["language"]) for row in rows} == {(BY, "en")}
    samples = list(
        webdataset.WebDataset(str(tmp_path / "images" / "00000.tar"), shardshuffle=False)
    )
    assert len(samples) == 5
    for sample in samples:
        values = json.loads(sample["json"])
        assert values["license"] == BY
        assert sample["txt"].decode() == values["caption"]
        number = values["url"].rpartition("/")[2].partition(".")[0]
        assert values["caption"].endswith(f"number {number}")
