"""Finished folders as readers of folders see them: as if img2dataset had written them."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import img2ds
from img2ds import cli
from tests.downloader.test_job import Background, network
from tests.server.sample_web import links
from tests.state import remove_state

IMAGES, PER_SHARD = 12, 5


def classes_of_torchvision(folder: Path) -> Any:
    """Every folder, also a hidden one, is a class; one without images is an error."""
    datasets = pytest.importorskip("torchvision.datasets", reason="torchvision is not installed")
    found = datasets.ImageFolder(str(folder))
    return found.classes, [(os.path.relpath(path, folder), of) for path, of in found.samples]


def classes_of_keras(folder: Path) -> Any:
    """Every folder that is not hidden is a class."""
    keras = pytest.importorskip("keras", reason="keras is not installed")
    return keras.utils.image_dataset_from_directory(str(folder)).class_names


def files_of_load_dataset(folder: Path) -> Any:
    """The extensions of all files choose the reader; it passes over hidden files."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    builder = datasets.load_dataset_builder(str(folder), cache_dir=str(folder.parent / "cache"))
    files = builder.config.data_files["train"]
    return builder.dataset_name, sorted(os.path.relpath(path, folder) for path in files)


def files_of_glob(folder: Path) -> Any:
    found = glob.glob(f"{folder}/**/*", recursive=True)
    return sorted(os.path.relpath(path, folder) for path in found)


def files_of_pathlib(folder: Path) -> Any:
    """Its patterns match hidden names."""
    kinds = ("*.json", "*.parquet", "*.jpg", "*.tar", "*.txt", "*/")
    return sorted(str(path.relative_to(folder)) for kind in kinds for path in folder.rglob(kind))


def make(out: Path, output_format: Any) -> None:
    """A folder that was finished, with failed rows that failed again."""
    urls = [link.url for link in links(IMAGES)]
    (out.parent / "list.txt").write_text("\n".join(urls))
    with Background() as address:
        report = img2ds.download(
            url_list=str(out.parent / "list.txt"), output_folder=str(out), image_size=32,
            output_format=output_format, number_sample_per_shard=PER_SHARD, processes_count=1,
            **network(address),
        )  # fmt: skip
        assert report.tally.reasons == {"http_404": 1, "http_410": 1}
        if output_format != "dummy":
            flags = [f"--{name}={value}" for name, value in network(address).items()]
            retry = ["retry", f"--output_folder={out}", "--processes_count=1", "--reasons=http_404"]
            assert cli.run([*retry, *flags]) == 0


@pytest.fixture(scope="module", params=["files", "webdataset", "parquet", "dummy"])
def folders(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A finished dataset, and the same without what img2ds keeps for itself."""
    ours = tmp_path_factory.mktemp(request.param) / request.param
    make(ours, request.param)
    bare = tmp_path_factory.mktemp("bare") / request.param
    shutil.copytree(ours, bare)
    remove_state(bare)
    assert len(os.listdir(ours)) > len(os.listdir(bare))
    return ours, bare


@pytest.mark.parametrize(
    "read", [classes_of_torchvision, classes_of_keras, files_of_load_dataset, files_of_glob,
             files_of_pathlib],
)  # fmt: skip
def test_a_reader_finds_the_dataset_and_nothing_else(
    read: Callable[[Path], Any], folders: tuple[Path, Path]
) -> None:
    ours, bare = folders
    if "classes" in read.__name__ and ours.name != "files":
        pytest.skip("it reads folders of images")
    found = read(ours)
    assert found
    assert found == read(bare)


def test_each_shard_is_a_class(folders: tuple[Path, Path]) -> None:
    """Shard 3 is the retry, and has no image."""
    ours, _ = folders
    if ours.name != "files":
        pytest.skip("it reads folders of images")
    classes, samples = classes_of_torchvision(ours)
    assert classes == ["00000", "00001", "00002"]
    assert len(samples) == IMAGES
