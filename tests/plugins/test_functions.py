"""Functions of a Python program as filters, transforms and fetchers, in whole runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import img2ds
from img2ds import plugin
from tests.server.good_image import good_image
from tests.server.sample_web import BackgroundWeb, links

ROOT = Path(__file__).parents[2]
IMAGES = 24
ROWS = [{"url": link.url, "caption": link.caption} for link in links(IMAGES)]
BROKEN = sum(link.reason is not None for link in links(IMAGES))


@pytest.fixture(scope="module")
def web() -> Iterator[dict[str, Any]]:
    with BackgroundWeb([good_image()] * IMAGES) as address:
        yield {
            "connect_to": f"::{address}", "allow_private_addresses": True, "image_size": 64,
            "processes_count": 1, "caption_col": "caption",
        }  # fmt: skip


def test_rows_are_counted_by_the_reason_of_the_filter(web: dict[str, Any], tmp_path: Path) -> None:
    def keep(image: plugin.Image, row: plugin.RowValues) -> bool | str:
        number = int(row["key"])
        if number == 3:
            raise ValueError(row["caption"])
        return "odd" if number % 2 else image.pixels.shape == (64, 64, 3)

    flags = {"output_folder": tmp_path, "output_format": "webdataset", "filter": keep, **web}
    report = img2ds.download(ROWS, **flags)
    odd = report.tally.messages["keep: odd"]
    assert report.tally.reasons["filtered"] == odd > 5
    assert report.tally.messages["filter keep raised ValueError"] == 1
    assert report.tally.reasons["plugin_error"] == 1
    assert report.tally.successes == len(ROWS) - odd - 1 - BROKEN
    assert img2ds.download(ROWS, **flags).exit_code == 0
    with pytest.raises(img2ds.UsageError, match=r"--filter not given, there .*keep"):
        img2ds.download(ROWS, **{**flags, "filter": None})


def test_the_log_has_the_traceback(
    web: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def keep(image: plugin.Image, row: plugin.RowValues) -> bool:
        raise ValueError("what went wrong")

    img2ds.download(ROWS, output_folder=tmp_path, filter=keep, **web)
    assert "ValueError: what went wrong" in capsys.readouterr().err


def test_streams_have_filters_and_transforms(web: dict[str, Any]) -> None:
    failed: list[dict[str, Any]] = []
    stream = img2ds.stream(
        ROWS,
        filter=lambda image, row: "small" if row["key"].endswith("0") else image.width == 32,
        transform=lambda image, row: image.pixels[:, :32],
        on_failure=failed.append,
        **web,
    )
    widths = {sample.metadata["width"] for sample in stream}
    assert widths == {32}
    dropped = [row for row in failed if row["reason"] == "filtered"]
    assert dropped
    assert {row["error_message"] for row in dropped} == {"<lambda>: small"}


class Fatal:
    """Kills its process on one row."""

    def __call__(self, image: plugin.Image, row: plugin.RowValues) -> bool:
        if row["key"].endswith("4"):
            os.abort()
        return True


def test_a_plug_in_that_crashes_costs_its_rows(web: dict[str, Any], tmp_path: Path) -> None:
    report = img2ds.download(ROWS, output_folder=tmp_path, filter=Fatal, **web)
    fatal = [row for number, row in enumerate(links(IMAGES)) if number % 10 == 4 and not row.reason]
    assert report.exit_code == 0
    assert report.tally.reasons["decoder_crash"] == len(fatal) > 0
    assert report.tally.successes == len(ROWS) - BROKEN - len(fatal)


class CannotBegin:
    def __init__(self) -> None:
        raise RuntimeError("no weights")

    def __call__(self, image: plugin.Image, row: plugin.RowValues) -> bool:
        return True


def test_a_plug_in_that_cannot_be_set_up_ends_the_run(web: dict[str, Any], tmp_path: Path) -> None:
    report = img2ds.download(ROWS, output_folder=tmp_path, filter=CannotBegin, **web)
    assert report.exit_code == 1
    assert not report.tally.count


class BytesFetcher:
    """Bodies that the URLs ask for."""

    def __init__(self, options: plugin.NetworkOptions) -> None:
        self.closed = False

    async def fetch(self, url: str, context: plugin.FetchContext) -> Any:
        kind = url.rpartition("/")[2]
        if kind == "raises":
            raise KeyError(kind)
        if kind == "fails":
            return plugin.Failure("http_404", "gone")
        return {"good": good_image(), "empty": b"", "large": b"x" * 2000, "text": "text"}[kind]


def test_what_a_fetcher_may_return(tmp_path: Path) -> None:
    kinds = ["good", "raises", "fails", "empty", "large", "text"]
    least = len(good_image())
    report = img2ds.download(
        [f"any://host/{kind}" for kind in kinds],
        output_folder=tmp_path, fetcher=BytesFetcher, max_image_bytes=max(least, 1999),
        processes_count=1,
    )  # fmt: skip
    large = "too_large" if least < 2000 else "not_an_image"
    assert report.tally.successes == 1
    assert report.tally.reasons == {"plugin_error": 2, "http_404": 1, "too_small": 1, large: 1}
    assert report.tally.messages[f"fetcher {__name__}:BytesFetcher raised KeyError"] == 1
    assert report.tally.messages[f"fetcher {__name__}:BytesFetcher returned str, not bytes"] == 1
    manifest = json.loads((tmp_path / ".img2ds-manifest").read_text())
    assert manifest["segments"][0]["options"]["fetcher"] == f"{__name__}:BytesFetcher"


def test_modules_next_to_a_script_are_found_by_workers(tmp_path: Path) -> None:
    (tmp_path / "my_filters.py").write_text("def none(image, row):\n    return 'unwanted'\n")
    image = tmp_path / "image.png"
    image.write_bytes(good_image())
    script = tmp_path / "script.py"
    script.write_text(
        "import my_filters\nimport img2ds\n"
        f"report = img2ds.download([{image.as_uri()!r}], output_folder={str(tmp_path / 'out')!r},\n"
        "    filter=my_filters.none, fetcher='my_fetcher:Files', quiet=True)\n"
        "print(dict(report.tally.messages))\n"
    )
    (tmp_path / "my_fetcher.py").write_text(
        "class Files:\n"
        "    def __init__(self, options):\n        pass\n"
        "    async def fetch(self, url, context):\n"
        "        return open(url.removeprefix('file://'), 'rb').read()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd="/", env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "{'none: unwanted': 1}\n", done.stderr
