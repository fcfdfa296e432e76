"""Output folders of each kind: local, with staging files elsewhere, and on S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from img2ds.storage import OutputFolder


class Outage(Exception):
    """Like the errors of services: not an OSError."""


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("img2ds.storage.upload.UPLOAD_PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket of a real S3 server (moto) on loopback."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    import fsspec
    from fsspec.config import conf

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setitem(conf, "s3", {"endpoint_url": f"http://{host}:{port}"})
        fs = fsspec.filesystem("s3")
        fs.makedirs("bucket", exist_ok=True)  # moto keeps them as long as the process
        yield "s3://bucket"
    server.stop()


@pytest.fixture(params=["local", "tmp_dir", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str | None]:
    """An output folder and its --tmp_dir."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/{tmp_path.name}", str(tmp_path / "staging")
    return str(tmp_path / "out"), str(tmp_path / "staging") if request.param == "tmp_dir" else None


@pytest.fixture
def folder(location: tuple[str, str | None]) -> Iterator[OutputFolder]:
    folder = OutputFolder.open(*location)
    with folder.lock():
        yield folder
    folder.close()
