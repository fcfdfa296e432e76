"""Google Cloud Storage, Azure and the Hugging Face Hub by emulators: whole commands."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.core.failure import UsageError
from img2ds.storage.filesystem import resolve
from tests.server.good_image import good_image
from tests.server.sample_web import BackgroundWeb, links
from tests.storage.hub_server import REPO, hub

ROOT = Path(__file__).parents[2]
IMAGES = 24
ROWS = list(links(IMAGES))
GOOD = sum(row.reason is None for row in ROWS)
#: Of Azurite, for everybody.
AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
#: Puts standard input at a URL; makes the bucket.
PUT = """
import sys, fsspec
fs, path = fsspec.core.url_to_fs(sys.argv[1])
fs.mkdir(path.partition("/")[0])
fs.pipe(path, sys.stdin.buffer.read())
"""
REMOVE = "import sys, fsspec; fs, path = fsspec.core.url_to_fs(sys.argv[1]); fs.rm(path)"


@pytest.fixture(scope="module")
def web() -> Iterator[list[str]]:
    with BackgroundWeb([good_image()] * IMAGES) as address:
        yield ["--connect_to", f"::{address}", "--allow_private_addresses"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def gs() -> Iterator[dict[str, str]]:
    """The environment of commands that use an emulator of Google Cloud Storage."""
    pytest.importorskip("gcsfs", reason="gcsfs is not installed")
    emulator: Any = pytest.importorskip("gcp_storage_emulator.server")
    port = free_port()
    server = emulator.create_server("127.0.0.1", port, in_memory=True)
    server.start()
    yield {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}", "FSSPEC_GS_TOKEN": "anon",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false", "GOOGLE_CLOUD_PROJECT": "test",
    }  # fmt: skip
    server.stop()


@pytest.fixture(scope="module")
def az(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of commands that use Azurite."""
    pytest.importorskip("adlfs", reason="adlfs is not installed")
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("there is no azurite-blob: npm install -g azurite")
    port = free_port()
    process = subprocess.Popen(
        [program, "--silent", "--inMemoryPersistence", "--blobPort", str(port),
         "--skipApiVersionCheck", "--disableTelemetry"],
        cwd=tmp_path_factory.mktemp("azurite"), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "successfully listens" in line:
                break
        else:
            raise AssertionError("Azurite did not start")
        endpoint = f"http://127.0.0.1:{port}/devstoreaccount1"
        yield {
            "AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=http;"
            f"AccountName=devstoreaccount1;AccountKey={AZURE_KEY};BlobEndpoint={endpoint};"
        }
    finally:
        process.kill()
        process.communicate()


def run(env: dict[str, str], *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "img2ds", *arguments], cwd=ROOT, env={**os.environ, **env},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"url": [row.url for row in ROWS]}), file, row_group_size=10)
    return file.getvalue()


@pytest.mark.parametrize(("service", "output_format"), [("gs", "mds"), ("az", "webdataset")])
def test_a_dataset_on_a_service(
    service: str, output_format: str, web: list[str], request: pytest.FixtureRequest
) -> None:
    env: dict[str, str] = request.getfixturevalue(service)
    base = f"{service}://bucket"
    subprocess.run(
        [sys.executable, "-c", PUT, f"{base}/lists/urls.parquet"], input=parquet(),
        env={**os.environ, **env}, check=True, capture_output=True,
    )  # fmt: skip
    out = ["--output_folder", f"{base}/out"]
    download = [
        "--url_list", f"{base}/lists", "--input_format", "parquet", *out, "--image_size", "32",
        "--output_format", output_format, "--number_sample_per_shard", "10",
        "--processes_count", "1", *web,
    ]  # fmt: skip
    assert "3 shards written" in run(env, *download)
    assert "3 shards committed before" in run(env, *download)
    subprocess.run(
        [sys.executable, "-c", REMOVE, f"{base}/out/00001_stats.json"],
        env={**os.environ, **env}, check=True,
    )  # fmt: skip
    assert "1 shard written (3 in total)" in run(env, *download)
    assert "none broken" in run(env, "verify", *out, "--processes_count", "1")
    retry = run(env, "retry", *out, "--reasons", "http_404", "--processes_count", "1", *web)
    assert "1 shard written" in retry
    packed = ["--to", f"{base}/packed", "--processes_count", "1"]
    assert f"{GOOD} samples" in run(env, "reshard", *out, *packed)


@pytest.mark.parametrize(
    "path", ["data", "data/train-00000.parquet", "data/*.parquet", "lists/urls.csv"]
)
def test_lists_of_the_hub(path: str, web: list[str], tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    csv = "\n".join(["url", *(row.url for row in ROWS), ""]).encode()
    with hub(
        {"README.md": b"#", "data/train-00000.parquet": parquet(), "lists/urls.csv": csv}
    ) as url:
        env = {"HF_ENDPOINT": url, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(tmp_path)}
        said = run(
            env, "--url_list", f"hf://datasets/{REPO}/{path}", "--output_format", "webdataset",
            "--output_folder", str(tmp_path / "out"), "--processes_count", "1",
            "--number_sample_per_shard", "10", *web,
        )  # fmt: skip
        assert "3 shards written" in said


@pytest.mark.parametrize(
    ("scheme", "package", "extra"),
    [("gs", "gcsfs", "gcs"), ("az", "adlfs", "azure"), ("hf", "huggingface_hub", "hf")],
)
def test_a_missing_package_is_one_line(
    scheme: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(import_module("fsspec.registry")._registry, scheme, raising=False)
    with pytest.raises(UsageError, match=rf"pip install 'img2ds\[{extra}\]'"):
        resolve(f"{scheme}://bucket/datasets/x")
