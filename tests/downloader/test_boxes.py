"""Runs with boxes: from every input format, and no image comes through that was to be blurred."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import img2ds
from img2ds import cli
from img2ds.config.options import Options
from img2ds.core.failure import Reason, UsageError
from img2ds.downloader.planner import open_input
from tests.server.encodings import png
from tests.server.sample_web import BackgroundWeb, SampleWeb
from tests.server.web import Peer, Request, reply

BOX = [0.25, 0.25, 0.75, 0.75]
#: Cells of boxes, and whether the row is to be blurred, to be left sharp, or lost.
CELLS: list[tuple[Any, str]] = [
    ([BOX], "blurred"), ([], "sharp"), (None, "sharp"), ([BOX, [0.1, 0.1, 0.3, 0.2]], "blurred"),
    ([[0.5, 0.5, 0.2, 0.9]], "lost"), ([BOX, [120.0, 80.0, 200.0, 160.0]], "lost"),
    ([[0.1, 0.2, 0.3]], "lost"),
]  # fmt: skip
BOARD = (np.add.outer(np.arange(64), np.arange(64)) % 2 * 255).astype(np.uint8)


class CountingWeb(SampleWeb):
    """Remembers what it was asked for."""

    def __init__(self, images: list[bytes]) -> None:
        super().__init__(images)
        self.paths: list[str] = []
        self.busy = False

    async def respond(self, request: Request, peer: Peer) -> bool:
        self.paths.append(request.path)
        if self.busy:
            await peer.send(reply(b"busy", 503))
            return True
        return await super().respond(request, peer)


class Background(BackgroundWeb):
    def __init__(self) -> None:
        super().__init__([])
        board = png(np.repeat(BOARD[:, :, None], 3, axis=2))
        self.web = self.counting = CountingWeb([board] * len(CELLS))


@pytest.fixture(scope="module")
def web() -> Iterator[tuple[Background, str]]:
    background = Background()
    with background as address:
        yield background, address


def rows() -> list[dict[str, Any]]:
    return [
        {"score": n, "faces": cell, "url": f"http://h.example/photo/{n}.png"}
        for n, (cell, _) in enumerate(CELLS)
    ]


def write(path: Path) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows()))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows()), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="," if path.suffix == ".csv" else "\t")
            writer.writerow(("score", "url", "faces"))
            for row in rows():
                text = "" if row["faces"] is None else json.dumps(row["faces"])
                writer.writerow((row["score"], row["url"], text))
    return path


def flags(path: Path, address: str = "127.0.0.1:1", **more: Any) -> dict[str, Any]:
    return {
        "url_list": str(path), "output_folder": str(path.parent / "out"), "bbox_col": "faces",
        "output_format": "webdataset", "save_additional_columns": ["score"],
        "processes_count": 1, "thread_count": 4, "resize_mode": "no", "encode_format": "png",
        "connect_to": f"::{address}", "allow_private_addresses": True, **more,
    }  # fmt: skip


def images(tar: Path) -> dict[str, tuple[float, dict[str, Any]]]:
    """By key: what is left of the pattern in the middle, and the metadata."""
    data = {}
    with tarfile.open(tar) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            data[member.name] = file.read()
    found = {}
    for name in data:
        key, _, ending = name.partition(".")
        if ending == "png":
            with Image.open(io.BytesIO(data[name])) as image:
                middle = np.asarray(image)[20:44, 20:44].astype(np.float64)
            found[key] = float(middle.std()), json.loads(data[f"{key}.json"])
    return found


def test_retried_rows_are_blurred_too(tmp_path: Path, web: tuple[Background, str]) -> None:
    background, address = web
    arguments = flags(write(tmp_path / "list.parquet"), address)
    background.counting.busy = True
    assert img2ds.download(**arguments).tally.successes == 0
    background.counting.busy = False
    out = str(tmp_path / "out")
    network = ["--connect_to", f"::{address}", "--allow_private_addresses", "--processes_count=1"]
    assert cli.run(["retry", "--output_folder", out, *network]) == 0
    found = images(tmp_path / "out" / "00001.tar")
    assert len(found) == sum(fate != "lost" for _, fate in CELLS)
    for left, metadata in found.values():
        fate = CELLS[metadata["score"]][1]
        assert (left < 20) == (fate == "blurred"), metadata


@pytest.mark.parametrize(
    ("kind", "keep"),
    [(kind, False) for kind in ("csv", "tsv", "json", "jsonl", "parquet")] + [("jsonl", True)],
)
def test_no_face_comes_through(
    tmp_path: Path, web: tuple[Background, str], kind: str, keep: bool
) -> None:
    background, address = web
    background.counting.paths.clear()
    report = img2ds.download(**flags(write(tmp_path / f"list.{kind}"), address, skip_reencode=keep))
    lost = [n for n, (_, fate) in enumerate(CELLS) if fate == "lost"]
    assert report.tally.reasons == {Reason.BAD_BOXES.value: len(lost)}
    assert report.tally.failed_to_resize == len(lost)
    asked = {int(path.rpartition("/")[2].partition(".")[0]) for path in background.counting.paths}
    assert asked == {n for n in range(len(CELLS)) if n not in lost}
    found = images(tmp_path / "out" / "00000.tar")
    assert sorted(map(int, found)) == sorted(asked)
    for number, (cell, fate) in enumerate(CELLS):
        if fate == "lost":
            continue
        contrast, metadata = found[f"{number:09d}"]
        assert (contrast > 127) is (fate == "sharp")
        assert contrast < 60 or fate == "sharp"
        if kind not in ("csv", "tsv"):
            assert metadata["faces"] == cell
    table = pq.read_table(tmp_path / "out" / "00000.parquet")
    # Where img2dataset has them: after the other additional columns, before the rest.
    assert table.column_names[:3] == ["score", "faces", "url"]
    if kind not in ("csv", "tsv"):
        assert table["faces"].type == pa.list_(pa.list_(pa.float64()))
        assert table["faces"].to_pylist() == [cell for cell, _ in CELLS]


def test_a_row_of_csv_that_is_cut_off_has_no_boxes_to_trust(
    tmp_path: Path, web: tuple[Background, str]
) -> None:
    path = tmp_path / "list.csv"
    path.write_text("url,faces\nhttp://h.example/photo/0.png,\nhttp://h.example/photo/1.png\n")
    report = img2ds.download(**flags(path, web[1], save_additional_columns=[]))
    assert (report.tally.successes, report.tally.reasons) == (1, {"bad_boxes": 1})


@pytest.mark.parametrize(
    "column", [pa.array([1]), pa.array([0.5]), pa.array([True]), pa.array([{"a": [1]}])]
)
def test_columns_that_cannot_be_boxes_are_refused(tmp_path: Path, column: pa.Array) -> None:
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"url": ["http://a/"], "faces": column}), path)
    options = Options.from_flags(flags(path, save_additional_columns=[]))
    with pytest.raises(UsageError, match=r"in the column 'faces', not lists of boxes \(see --bbox"):
        open_input(options.input)


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.list_(pa.float32())), pa.large_list(pa.list_(pa.float64(), 4)), pa.string(),
     pa.large_string()],
    ids=str,
)  # fmt: skip
def test_boxes_of_any_type_of_parquet(
    tmp_path: Path, web: tuple[Background, str], kind: pa.DataType
) -> None:
    path = tmp_path / "list.parquet"
    cells = [json.dumps([BOX]), "[]"] if "string" in str(kind) else [[BOX], []]
    urls = [f"http://h.example/photo/{n}.png" for n in range(2)]
    pq.write_table(pa.table({"url": urls, "faces": pa.array(cells, kind)}), path)
    img2ds.download(**flags(path, web[1], save_additional_columns=[]))
    found = images(tmp_path / "out" / "00000.tar")
    assert found["000000000"][0] < 60
    assert found["000000001"][0] > 127


def test_boxes_decide_what_a_shard_is(tmp_path: Path) -> None:
    path = write(tmp_path / "list.jsonl")
    given = flags(path)
    with_boxes = Options.from_flags(given).shard_identity()
    del given["bbox_col"]
    without = Options.from_flags(given).shard_identity()
    assert with_boxes["bbox_col"] == "faces"
    assert with_boxes != without
    assert "bbox_col" not in without  # as folders have it that were begun before there were boxes


def test_names_of_our_own_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--bbox_col: img2ds writes a column 'width' itself"):
        Options.from_flags(flags(tmp_path / "list.csv", bbox_col="width"))
    twice = Options.from_flags(flags(tmp_path / "list.csv", save_additional_columns="faces,score"))
    assert twice.input.columns == ["url", "faces", "score"]
