"""Every output format, by one suite: verified, broken, retried and packed into any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import img2ds
from img2ds import cli
from img2ds.core.naming import OUTPUT_FORMATS
from img2ds.manage.dataset import Dataset
from img2ds.manage.layout import layout_of, open_stored
from img2ds.manage.options import ReshardOptions, StatusOptions
from img2ds.manage.reshard import run as reshard
from img2ds.manage.status import run as look
from tests.manage.dataset_rows import PER_SHARD, network
from tests.manage.img2dataset_folder import write_shard
from tests.manage.test_verify import problems
from tests.server.good_image import good_image

FORMATS = [name for name in OUTPUT_FORMATS if name != "dummy"]
PEER_FORMATS = ["webdataset", "files", "parquet", "tfrecord"]


def parts(folder: Path) -> dict[str, tuple[bytes, bytes | None]]:
    """Image and caption of each sample by its key, in the order of keys."""
    dataset = Dataset.open(str(folder))
    layout = layout_of(dataset)
    found = {}
    for name in dataset.committed.values():
        for sample in open_stored(dataset.folder, name, layout).samples():
            assert sample.key not in found
            found[sample.key] = sample.parts["jpg"], sample.parts.get("txt")
    return dict(sorted(found.items()))


def data(folder: Path, shard: str, kind: str) -> Path:
    """The file of a shard that holds its images, or one of them."""
    if kind == "files":
        return sorted((folder / shard).glob("*.jpg"))[1]
    suffix = {"webdataset": ".tar", "parquet": ".parquet", "tfrecord": ".tfrecord"}[kind]
    return folder / f"{shard}{suffix}"


@pytest.fixture(scope="module", params=FORMATS)
def made_of(
    request: pytest.FixtureRequest,
    original: tuple[Path, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Path, str]:
    """A format, the folder of a run in it, and the web that it was made from."""
    kind: Any = request.param
    folder = tmp_path_factory.mktemp(kind) / "set"
    report = img2ds.download(
        str(original[0].parent / "list.parquet"), output_folder=str(folder),
        caption_col="caption", save_additional_columns=["place"], output_format=kind,
        processes_count=1, number_sample_per_shard=PER_SHARD, **network(original[1]),
    )  # fmt: skip
    assert report.exit_code == 0
    return kind, folder, original[1]


def test_a_run_is_sound_and_can_be_packed(made_of: tuple[str, Path, str], tmp_path: Path) -> None:
    kind, folder, _ = made_of
    assert problems(folder, decode=True) == problems(folder, fast=True) == {}
    found = look(StatusOptions(output_folder=str(folder)))
    assert (found.output_format, found.rows, found.exit_code) == (kind, 35, 0)
    assert found.size > 30 * len(good_image()) / 10
    before = parts(folder)
    assert len(before) == 30
    assert all(caption is not None for _, caption in before.values())
    for to in FORMATS:
        options: dict[str, Any] = {"number_sample_per_shard": 12, "processes_count": 1}
        options["output_folder"], options["to"] = str(folder), str(tmp_path / to)
        report = reshard(ReshardOptions(output_format=to, **options))
        assert report.exit_code == 0
        assert problems(tmp_path / to, decode=True) == {}
        after = parts(tmp_path / to)
        assert sorted(after.values(), key=repr) == sorted(before.values(), key=repr)
        tables = [pq.read_table(p) for p in sorted((tmp_path / to).glob("*.parquet"))]
        table = pa.concat_tables(tables)
        assert table["key"].to_pylist() == list(after)
        assert sorted(table["place"].to_pylist()) == sorted(
            row for p in sorted(folder.glob("*.parquet"))
            for row, status in zip(
                pq.read_table(p)["place"].to_pylist(), pq.read_table(p)["status"].to_pylist(),
                strict=True,
            )
            if status == "success"
        )  # fmt: skip


def test_retries_are_of_the_same_format(made_of: tuple[str, Path, str]) -> None:
    _, folder, address = made_of
    typed = [f"--{name}={value}" for name, value in network(address).items()]
    arguments = ["retry", f"--output_folder={folder}", "--reasons=http_410,http_500", *typed]
    assert cli.run([*arguments, "--processes_count=1"]) == 0
    assert problems(folder) == {}
    found = look(StatusOptions(output_folder=str(folder)))
    assert (found.rows, found.tried_again, found.exit_code) == (35, 2, 0)
    assert len(list(folder.glob("*_stats.json"))) == 5
    # Without a success there is no folder of files.
    assert {p.name for p in folder.glob("00004*")} == {
        p.name.replace("00003", "00004") for p in folder.glob("00003*") if p.is_file()
    }


@pytest.mark.parametrize("kind", PEER_FORMATS)
def test_folders_of_img2dataset_in_every_format(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "img2dataset"
    for number in range(3):
        write_shard(folder, number, kind=kind)
    assert problems(folder, decode=True) == problems(folder, fast=True) == {}
    found = look(StatusOptions(output_folder=str(folder)))
    assert (found.output_format, found.by_img2dataset, found.rows) == (kind, 3, 30)
    assert list(parts(folder).values()) == [(good_image(), None)] * 15
    path = data(folder, "00001", kind)
    path.write_bytes(path.read_bytes()[:-600])
    assert problems(folder, decode=True).keys() == {1}
    report = reshard(
        ReshardOptions(
            output_folder=str(folder), to=str(tmp_path / "to"), output_format="webdataset",
            number_sample_per_shard=5, processes_count=1,
        )
    )  # fmt: skip
    if kind == "files":  # a cut image is still an image unless it is decoded
        assert report.exit_code == 0
    else:
        assert list(report.failed) == [1]
    for sample in (tmp_path / "to").glob("*_stats.json"):
        assert json.loads(sample.read_text())["successes"] == 5


@pytest.mark.parametrize("kept", [0, 5, 11, 12, 40, -1, -4, -5])
def test_a_tfrecord_cut_anywhere_is_found(tmp_path: Path, kept: int) -> None:
    write_shard(tmp_path / "img2dataset", 0, kind="tfrecord")
    path = tmp_path / "img2dataset" / "00000.tfrecord"
    path.write_bytes(path.read_bytes()[:kept])
    assert problems(tmp_path / "img2dataset").keys() == {0}
