"""The folders that other tests make are those of the real img2dataset, which runs here once."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.manage.img2dataset_folder import write_shard
from tests.server.good_image import good_image
from tests.server.sample_web import BackgroundWeb

PROGRAM = Path(__file__).parents[2] / "benchmark/.peer/bin/img2dataset"


@pytest.mark.skipif(not PROGRAM.exists(), reason="img2dataset is not there: make compat")
@pytest.mark.parametrize("kind", ["files", "webdataset", "parquet"])
def test_our_fixtures_are_img2datasets(tmp_path: Path, kind: str) -> None:
    with BackgroundWeb([good_image()] * 3) as address:
        urls = [f"http://{address}/photo/{n}.jpg" for n in range(3)]
        urls.append(f"http://{address}/nothing-here")
        table = {
            "url": urls, "caption": ["a é", "b", None, "d"],
            "score": pa.array([0.5, float("nan"), float("nan"), 1.0]),
        }  # fmt: skip
        pq.write_table(pa.table(table), tmp_path / "list.parquet")
        environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        subprocess.run(
            [PROGRAM, "--url_list", "list.parquet", "--input_format", "parquet", "--url_col", "url",
             "--caption_col", "caption", "--save_additional_columns", '["score"]',
             "--output_folder", "theirs", "--output_format", kind, "--processes_count", "1",
             "--thread_count", "2", "--number_sample_per_shard", "10"],
            check=True, cwd=tmp_path, env=environment, capture_output=True,
        )  # fmt: skip
    captions = ["a é", "b", None, "d"]
    scores = [0.5, float("nan"), float("nan"), 1.0]
    write_shard(
        tmp_path / "ours", 0, rows=4, kind=kind,
        messages=(None, None, None, "HTTP Error 404: Not Found"),
        columns=lambda n: {"score": scores[n], "caption": captions[n]},
    )  # fmt: skip
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    assert _names(ours) == _names(theirs)
    tables = [pq.read_schema(folder / "00000.parquet") for folder in (ours, theirs)]
    assert tables[0].names == tables[1].names
    assert tables[0].types == tables[1].types
    stats = [json.loads((folder / "00000_stats.json").read_text()) for folder in (ours, theirs)]
    assert list(stats[0]) == list(stats[1])
    assert stats[0]["status_dict"] == stats[1]["status_dict"]
    members = [_members(folder, kind) for folder in (ours, theirs)]
    assert members[0].keys() == members[1].keys()
    for name in members[0]:
        if name.endswith(".json"):
            first, second = (json.loads(each[name]) for each in members)
            assert list(first) == list(second)
            assert ("NaN" in members[0][name]) == ("NaN" in members[1][name])
        elif name.endswith(".txt"):
            assert members[0][name] == members[1][name]


def _names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _members(folder: Path, kind: str) -> dict[str, str]:
    """The files of all samples by name, images without their content."""
    found: dict[str, bytes] = {}
    if kind == "files":
        found = {path.name: path.read_bytes() for path in (folder / "00000").iterdir()}
    elif kind == "webdataset":
        with tarfile.open(folder / "00000.tar") as tar:
            found = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    return {n: "" if n.endswith(".jpg") else data.decode() for n, data in found.items()}
