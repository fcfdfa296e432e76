"""A dataset made by a real run, once; tests work on copies of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.config import conf

import img2ds
from tests.manage.dataset_rows import IMAGES, PER_SHARD, network, rows
from tests.server.good_image import good_image
from tests.server.sample_web import BackgroundWeb


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The folder of a finished run and the address of the web that it was made from.

    Three shards of ten rows and one of five; the list is in the same parent folder.
    """
    folder = tmp_path_factory.mktemp("made")
    table = pa.table(
        {
            "url": [row.url for row in rows()],
            "caption": [row.caption if place % 9 else None for place, row in enumerate(rows())],
            "place": list(range(len(rows()))),
        }
    )
    pq.write_table(table, folder / "list.parquet")
    with BackgroundWeb([good_image()] * IMAGES) as address:
        report = img2ds.download(
            str(folder / "list.parquet"), output_folder=str(folder / "set"), caption_col="caption",
            save_additional_columns=["place"], output_format="webdataset", processes_count=2,
            number_sample_per_shard=PER_SHARD, **network(address),
        )  # fmt: skip
        assert report.exit_code == 0
        yield folder / "set", address


@pytest.fixture
def made(original: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(original[0], tmp_path / "set"))


@pytest.fixture(scope="package")
def s3() -> Iterator[str]:
    """A bucket of a real S3 server (moto) on loopback; worker processes find it as well."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {"endpoint_url": f"http://{host}:{port}", "key": "test", "secret": "test"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(conf, "s3", settings)
        for name, value in settings.items():
            patch.setenv(f"FSSPEC_S3_{name.upper()}", value)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").makedirs("manage", exist_ok=True)
        yield "s3://manage"
    server.stop()


@pytest.fixture
def remote(made: Path, s3: str, tmp_path: Path) -> str:
    """The copy again, on S3."""
    url = f"{s3}/{tmp_path.name}"
    fsspec.filesystem("s3").put(f"{made}/", url, recursive=True)
    return url
