"""`laion download` and `laion crawl`: their flags are img2ds's, with the pipeline's defaults."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.config.options import FLAGS
from img2ds.core.failure import UsageError
from laion import cli
from laion.crawl.options import CrawlOptions
from laion.fetch import FIXED, DownloadOptions, img2ds_options


def test_every_flag_of_img2ds_is_taken_over_or_decided() -> None:
    ours = {f.name for f in fields(DownloadOptions)}
    assert set(FLAGS) - ours - set(FIXED) == {"config", "url_list", "verify_hash", "bbox_col"}
    assert ours - set(FLAGS) == {"input"}


def test_defaults_are_the_pipelines(tmp_path: Path) -> None:
    given = DownloadOptions(input="x", output_folder=str(tmp_path))
    options = img2ds_options(given, url_list="x")
    assert options.network.min_image_bytes == 5000
    assert options.image.image_formats == ("jpeg", "png", "webp")
    assert options.image.max_decoded_pixels == 89_478_484
    assert options.input.save_additional_columns == ("license", "language")
    assert options.input.caption_col == "text"
    assert options.output.output_format == "webdataset"


def test_flags_pass_through() -> None:
    given = DownloadOptions(
        input="x", output_folder="y", thread_count=7, retries=3, connect_to=("::127.0.0.1:80",),
        image_size=128, resize_mode="border", encode_quality=80, min_image_bytes=0,
    )  # fmt: skip
    options = img2ds_options(given, url_list="x")
    assert (options.network.thread_count, options.network.retries) == (7, 3)
    assert options.network.connect_to == ("::127.0.0.1:80",)
    assert (options.image.image_size, options.image.resize_mode) == (128, "border")
    assert (options.image.quality, options.network.min_image_bytes) == (80, 0)


MODEL = ["--model", "m", "--pretrained", "p"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["download", "--output_folder", "out"], "--input is required"),
        (["download", "--input", "nowhere", "--output_folder", "out"], "no file or folder nowhere"),
        (["download", "--input", "list", "--output_folder", "out"], "has no column"),
        (
            ["download", "--input", "list", "--output_folder", "out", "--timeout", "0"],
            "--timeout must be above 0",
        ),
        (
            ["download", "--input", "list", "--output_folder", "out", "--url_col", "u"],
            "unknown flag --url_col",
        ),
        (["crawl", "--output_folder", "out", *MODEL], "--wat and --input: give one of them"),
        (
            ["crawl", "--wat", "w", "--input", "i", "--output_folder", "out", *MODEL],
            "--wat and --input: give one of them",
        ),
        (
            ["crawl", "--input", "i", "--output_folder", "out", "--languages", "de", *MODEL],
            "--languages goes with --wat",
        ),
        (
            ["crawl", "--wat", "w", "--output_folder", "out", *MODEL,
             "--number_sample_per_shard", "5"],
            "--number_sample_per_shard goes with --input",
        ),
        (
            ["crawl", "--wat", "w", "--output_folder", "out", "--image_size", "0", *MODEL],
            "--image_size must be at least 1",
        ),
        (
            ["crawl", "--wat", "w", "--output_folder", "out", "--min_text_length", "-1", *MODEL],
            "--min_text_length must be at least 0",
        ),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list").mkdir()
    pq.write_table(pa.table({"address": ["u"]}), tmp_path / "list" / "0.parquet")
    assert cli.run(arguments) == 2
    output = capsys.readouterr().err
    assert words in output
    assert len(output.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def crawl(**flags: Any) -> Any:
    return CrawlOptions(output_folder="out", model="m", pretrained="p", **flags)


def test_how_a_crawl_fetches_does_not_decide_what_its_parts_are() -> None:
    plain = crawl(wat="w").identity()
    assert crawl(wat="v", thread_count=9, retries=2, timeout=1, batch_size=3).identity() == plain
    assert crawl(wat="w", image_size=128).identity() != plain
    assert crawl(wat="w", min_similarity=0.2).identity() != plain
    assert crawl(wat="w", min_text_length=9).identity() != plain


def test_an_unreadable_classifier_is_reported() -> None:
    with pytest.raises(UsageError, match="--classifier nowhere"):
        crawl(wat="w", classifier="nowhere").identity()


def test_flags_that_the_pipeline_does_not_read_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(["download", "--input", "x", "--output_folder", "y", "--config", "z"]) == 2
    assert "unknown flag --config" in capsys.readouterr().err
