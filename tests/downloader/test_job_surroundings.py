"""Whole runs in unusual surroundings: standard input, closed standard streams, broken pipes."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pytest

import img2ds
from img2ds.engine.manifest import Manifest
from tests.downloader.test_job import (
    ROOT,
    Background,
    command,
    flags,
    markers,
    samples,
    start,
    ungated,
    write_list,
)
from tests.server.good_image import good_image
from tests.server.proxy import ProxyServer
from tests.server.sample_web import BackgroundWeb

__all__ = ["ungated"]


def test_standard_input_of_other_rows_is_refused(
    tmp_path: Path, ungated: tuple[Background, str]
) -> None:
    _, address = ungated
    arguments = flags(address, Path("-"), tmp_path / "out")

    def given(start: int, stop: int) -> subprocess.CompletedProcess[str]:
        text = write_list(tmp_path / "list.txt", start, stop).read_text()
        return subprocess.run(
            command(arguments), cwd=ROOT, input=text, capture_output=True, text=True, check=False
        )

    assert given(0, 25).returncode == 0
    before = markers(tmp_path / "out")
    assert given(0, 25).returncode == 0
    other = given(5, 30)
    assert other.returncode == 2
    assert "was made from another input (the URLs of 00000.parquet differ)" in other.stderr
    assert markers(tmp_path / "out") == before


@pytest.mark.parametrize("url_list", ["empty.txt", "-"])
def test_an_empty_list_does_not_overwrite(
    tmp_path: Path, ungated: tuple[Background, str], url_list: str
) -> None:
    _, address = ungated
    out = tmp_path / "out"
    img2ds.download(**flags(address, write_list(tmp_path / "list.txt", 0, 10), out))
    (tmp_path / "empty.txt").write_text("\n")
    given = Path(url_list) if url_list == "-" else tmp_path / url_list
    run = subprocess.run(
        command(flags(address, given, out, incremental_mode="overwrite")),
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert len(markers(out)) == 1


def test_a_run_without_standard_streams(tmp_path: Path, ungated: tuple[Background, str]) -> None:
    """Started like a daemon: none of its descriptors may become 1 or 2."""
    _, address = ungated
    out = tmp_path / "out"
    line = command(flags(address, write_list(tmp_path / "list.txt", 0, 10), out))
    run = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *line], cwd=ROOT, check=False)
    assert run.returncode == 0
    assert len(samples(out)) == 20


def test_a_closed_output_pipe(tmp_path: Path, ungated: tuple[Background, str]) -> None:
    _, address = ungated
    out = tmp_path / "out"
    process = start(flags(address, write_list(tmp_path / "list.txt"), out))
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    assert process.wait() == 1
    assert len(markers(out)) == 6


class BackgroundProxy(BackgroundWeb):
    """A proxy that requires a login, before a web that only it can reach."""

    def __init__(self) -> None:
        super().__init__([good_image()] * 10)
        self.proxy = ProxyServer(login="me:s3cret")
        self.proxy.servers = {80: self.web}
        self.web = self.proxy  # type: ignore[assignment]  # what is served


@pytest.mark.parametrize("by", ["flag", "environment"])
def test_a_run_behind_a_proxy(tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = BackgroundProxy()
    arguments = flags("", write_list(tmp_path / "list.txt", 0, 10), tmp_path / "out")
    del arguments["connect_to"], arguments["allow_private_addresses"]
    with behind as address:
        url = f"http://me:s3cret@{address}"
        if by == "flag":
            arguments["proxy"] = url
        else:
            monkeypatch.setenv("HTTP_PROXY", url)
        process = start(arguments)
        output = "".join(process.communicate())
    assert process.returncode == 0, output
    assert len(samples(tmp_path / "out")) == 20
    assert sorted(behind.proxy.asked)[0] == "http://h.example/photo/0.jpg"
    # The password appears nowhere else.
    assert "s3cret" not in output
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or b"s3cret" not in path.read_bytes(), path


def test_a_proxy_that_is_not_there(tmp_path: Path) -> None:
    arguments = flags("", write_list(tmp_path / "list.txt", 0, 10), tmp_path / "out")
    del arguments["connect_to"]
    run = subprocess.run(
        command({**arguments, "proxy": "http://me:s3cret@127.0.0.1:9"}),
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    words = (
        "img2ds: error: --proxy: no connection to 127.0.0.1, port 9 (proxy: connection refused)\n"
    )
    assert run.stderr == words
    assert not (tmp_path / "out").exists()


def test_the_count_of_shards_finds_no_room(
    tmp_path: Path, ungated: tuple[Background, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest of a streamed list is written last; a full disk then gives no traceback."""

    def full(manifest: Manifest, count: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Manifest, "set_shard_count", full)
    _, address = ungated
    report = img2ds.download(**flags(address, write_list(tmp_path / "list.txt"), tmp_path / "out"))
    assert report.exit_code == 1
    assert "no space left on device" in str(report.stopped)
