"""Lists in archives and on web servers."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.config.options import InputOptions
from img2ds.core.failure import UsageError
from img2ds.downloader.planner import open_input

URLS = [f"http://h.example/{n}.jpg" for n in range(1000)]


class Quiet(SimpleHTTPRequestHandler):
    """Sends whole files, whatever range is asked for."""

    def log_message(self, *_: Any) -> None:
        pass

    def copyfile(self, source: Any, outputfile: Any) -> None:
        try:
            super().copyfile(source, outputfile)
        except ConnectionError:  # the client has seen enough
            self.close_connection = True


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    thread.join()
    served.server_close()


def write_archive(folder: Path) -> Path:
    pq.write_table(pa.table({"url": URLS}), folder / "list.parquet")
    (folder / "list.csv").write_text("url\n" + "\n".join(URLS))
    with zipfile.ZipFile(folder / "lists.zip", "w") as archive:
        for name in ("list.csv", "list.parquet"):
            archive.write(folder / name, name)
    return folder / "lists.zip"


def test_a_list_in_an_archive(tmp_path: Path) -> None:
    archive = write_archive(tmp_path)
    source = open_input(InputOptions(url_list=f"zip://list.csv::{archive}"))
    source.check_rows()
    assert source.input_format == "csv"
    assert source.fingerprint()["files"][0]["digest"]
    (task,) = source.shards(2000)
    assert isinstance(task.rows, pa.Table)
    assert task.rows["url"].to_pylist() == URLS
    source = open_input(InputOptions(url_list=f"zip://list.parquet::{archive}"))
    assert (source.input_format, source.row_count) == ("parquet", 1000)


@pytest.mark.parametrize(
    ("url_list", "words"),
    [("zip://none.csv::{}/lists.zip", "there is no file"),
     ("zip://list.csv::{}/none.zip", "it does not exist"),
     ("zip://list.csv::{}/list.csv", "not a zip file")],
)  # fmt: skip
def test_archives_that_cannot_be_read(tmp_path: Path, url_list: str, words: str) -> None:
    write_archive(tmp_path)
    with pytest.raises(UsageError, match=words):
        open_input(InputOptions(url_list=url_list.format(tmp_path)))


def test_parquet_from_a_server_without_ranges(tmp_path: Path, server: str) -> None:
    write_archive(tmp_path)
    urls = [f"http://h.example/{n}.jpg" for n in range(50_000)]  # more than one request asks for
    pq.write_table(pa.table({"url": urls}), tmp_path / "list.parquet", compression=None)
    with pytest.raises(UsageError, match="its server sends no parts of files"):
        open_input(InputOptions(url_list=f"{server}/list.parquet"))
    (task,) = open_input(InputOptions(url_list=f"{server}/list.csv")).shards(2000)
    assert isinstance(task.rows, pa.Table)
    assert task.rows["url"].to_pylist() == URLS
