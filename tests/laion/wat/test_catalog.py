"""Which WAT files a source stands for, also from a busy server."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from img2ds.core.failure import UsageError
from img2ds.storage import InputFile, retrying_file
from laion.wat.catalog import choose, digest, find_wats
from tests.storage.busy_server import BusyServer

NAMES = [f"crawl-data/CC-MAIN-2024-10/segments/1/wat/CC-{n:05d}.warc.wat.gz" for n in range(40)]
LIST = gzip.compress("".join(f"{name}\n" for name in NAMES).encode())


@pytest.fixture
def server() -> Iterator[BusyServer]:
    with BusyServer({"/crawl-data/CC-MAIN-2024-10/wat.paths.gz": LIST}) as server:
        yield server


def paths(files: list[InputFile]) -> list[str]:
    return [file.path for file in files]


def test_a_folder_a_glob_and_a_file(tmp_path: Path) -> None:
    for name in ("b.wat.gz", "a.wat", "c.warc.gz", "_d.wat.gz"):
        (tmp_path / name).write_bytes(b"x")
    both = [f"{tmp_path}/a.wat", f"{tmp_path}/b.wat.gz"]
    assert paths(find_wats(str(tmp_path))) == both
    assert paths(find_wats(f"{tmp_path}/*.wat*")) == [f"{tmp_path}/_d.wat.gz", *both]
    assert paths(find_wats(both[1])) == both[1:]
    with pytest.raises(UsageError, match="no file or folder"):
        find_wats(f"{tmp_path}/none")


def test_a_list_here(tmp_path: Path) -> None:
    lines = [NAMES[0], "", "near.wat.gz", "/far/a.wat.gz", "s3://other/b.wat.gz"]
    (tmp_path / "wat.paths").write_text("\n".join(lines))
    found = find_wats(f"{tmp_path}/wat.paths", "s3://commoncrawl/")
    assert paths(found) == [
        f"s3://commoncrawl/{NAMES[0]}", f"{tmp_path}/near.wat.gz", "/far/a.wat.gz",
        "s3://other/b.wat.gz",
    ]  # fmt: skip
    (tmp_path / "none.paths").write_text("\n")
    with pytest.raises(UsageError, match="is empty"):
        find_wats(f"{tmp_path}/none.paths")
    (tmp_path / "bad.paths.gz").write_bytes(LIST[:50])
    with pytest.raises(UsageError, match="truncated or damaged"):
        find_wats(f"{tmp_path}/bad.paths.gz")


def test_a_crawl_by_its_name_from_a_busy_server(
    server: BusyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []
    monkeypatch.setattr(retrying_file, "sleep", delays.append)
    server.refuse(503, 503, 403, 403)  # fsspec asks twice for a size
    found = find_wats("CC-MAIN-2024-10", server.url)
    assert paths(found) == [f"{server.url}/{name}" for name in NAMES]
    assert len(delays) == 2
    server.refuse(*[503] * 20)
    with pytest.raises(UsageError, match=r"cannot read the list http.*503.*5 attempts"):
        find_wats("CC-MAIN-2024-10", server.url)
    server.calm()
    with pytest.raises(UsageError, match="check the name of the crawl"):
        find_wats("CC-MAIN-1999-01", server.url)


def test_choices() -> None:
    files = [InputFile(name, None) for name in NAMES]
    assert choose(files, None, None, 0) == files
    assert choose(files, 3, None, 0) == files[:3]
    sample = choose(files, None, 30, 1)
    assert len({file.path for file in sample}) == 30
    assert sample == sorted(sample, key=lambda file: file.path)
    assert sample == choose(files, None, 30, 1) != choose(files, None, 30, 2)
    with pytest.raises(UsageError, match="--sample 41 is too large: there are 40"):
        choose(files, None, 41, 0)
    with pytest.raises(UsageError, match="--first 41"):
        choose(files, 41, None, 0)
    assert digest(files) != digest(files[1:])
