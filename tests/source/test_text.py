"""Lists of which nobody said that they are txt, and that begin like another format."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from img2ds.config.options import InputOptions
from img2ds.core.failure import UsageError
from img2ds.source.table import open_source

STARTS = {
    "csv": b"id,url,caption\n1,http://a.example/1.jpg,a\n",
    "csv, quoted, with a byte order mark": b'\xef\xbb\xbf"url","caption"\r\n',
    "tsv": b"caption\turl\na\thttp://a.example/1.jpg\n",
    "jsonl": b'{"url": "http://a.example/1.jpg"}\n',
    "json": b'[\n  {"url": "http://a.example/1.jpg"}\n]',
    "json on a line": b'[{"url": "http://a.example/1.jpg"}]',
}
#: An address in brackets, a URL with commas, and a header of one column are rows, bad or good.
URLS = [b"http://a.example/a,url.jpg\n", b"[::1]/a.jpg\n", b"url\nhttp://a.example/1.jpg\n", b""]


@pytest.fixture(params=["file", "standard input"])
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def place(where: str, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put a list where it is read from; its path."""
    if where == "file":
        (tmp_path / "list").write_bytes(data)
        return str(tmp_path / "list")

    class Stdin:
        buffer = io.BufferedReader(io.BytesIO(data))

    monkeypatch.setattr("sys.stdin", Stdin)
    return "-"


@pytest.mark.parametrize("name", STARTS)
def test_another_format_is_named(
    name: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_path = place(path, STARTS[name], tmp_path, monkeypatch)
    kind = name.partition(",")[0].partition(" ")[0]
    with pytest.raises(UsageError, match=f"begins like {kind}: add --input_format {kind}, or txt"):
        open_source(list_path, "txt", InputOptions(url_list=list_path))
    # Who says that it is txt gets its lines.
    options = InputOptions(url_list=list_path, input_format="txt")
    assert next(open_source(list_path, "txt", options).shards(9))[0] > 0


@pytest.mark.parametrize("data", URLS, ids=["commas", "brackets", "one_column", "empty"])
def test_urls_are_taken_for_urls(
    data: bytes, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_path = place(path, data, tmp_path, monkeypatch)
    open_source(list_path, "txt", InputOptions(url_list=list_path))


def test_parquet_on_standard_input_is_sent_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BufferedReader(io.BytesIO(b"PAR1 and more"))

    monkeypatch.setattr("sys.stdin", Stdin)
    for kind in ("txt", "parquet"):
        with pytest.raises(UsageError, match="cannot be read from standard input: save it"):
            open_source("-", kind, InputOptions(url_list="-"))
