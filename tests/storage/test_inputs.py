"""The files of a folder or a glob."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from img2ds.core.failure import UsageError
from img2ds.source.table import guess_format
from img2ds.storage import find_inputs, inputs


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """A folder with a file, a link to one elsewhere, a link to a folder, and other files."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "b.csv").write_text("url\nhttp://b/\n")
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "a.csv").write_text("url\n")
    (folder / "b.csv").symlink_to(elsewhere / "b.csv")
    (folder / "c.csv").symlink_to(elsewhere)
    (folder / "_SUCCESS.csv").write_text("")
    (folder / "notes.md").write_text("")
    return folder


@pytest.mark.parametrize("ending", ["", "/?.csv"])
def test_links_to_files_count_as_files(lists: Path, ending: str) -> None:
    found = find_inputs(f"{lists}{ending}", [".csv"])
    assert [(file.name, file.size) for file in found] == [("a.csv", 4), ("b.csv", 14)]
    assert found[1].digest() != found[0].digest()


def test_marks_of_shards_are_no_lists(lists: Path) -> None:
    (lists / "00000_stats.json").write_text("{}")
    (lists / "d.json").write_text("[]")
    assert [file.name for file in find_inputs(str(lists), [".json"])] == ["d.json"]


@pytest.mark.parametrize("ending", ["", "/*.csv"])
def test_a_dangling_link_is_reported(lists: Path, ending: str) -> None:
    (lists / "d.csv").symlink_to(lists / "gone.csv")
    with pytest.raises(UsageError, match=r"d\.csv is a broken link"):
        find_inputs(f"{lists}{ending}", [".csv"])


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_service_that_does_not_answer(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "CONTACT_TIME", 0.05)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        with pytest.raises(UsageError, match="no answer within 0 s; check the address"):
            find_inputs(f"{scheme}://{address if scheme == 'http' else 'bucket'}/u.csv", [".csv"])


def test_a_server_that_cannot_be_reached() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UsageError, match=r"cannot read http://.*onnect"):
        find_inputs(f"http://{address}/u.csv", [".csv"])


def test_names_in_capitals(lists: Path) -> None:
    (lists / "UP.CSV").write_text("url\nhttp://a/\n")
    assert f"{lists}/UP.CSV" in [file.path for file in find_inputs(str(lists), [".csv"])]
    assert guess_format(["UP.CSV"]) == "csv"


def test_a_pipe_is_told_where_to_go(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"pipe is a pipe or a device.* use --url_list -"):
        find_inputs(str(tmp_path / "pipe"), [".txt"])


@pytest.mark.parametrize(
    ("url", "extra"),
    [("https://host.example/a.csv", "http"), ("s3://bucket/a.csv", "s3"),
     ("zip://a.csv::https://host.example/a.zip", "http")],
)  # fmt: skip
def test_a_protocol_whose_package_is_missing(
    url: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(url: str) -> None:
        raise ImportError("Install this and that")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    message = f"{url}: needs a package: pip install 'img2ds[{extra}]'"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        find_inputs(url, [".csv"])
