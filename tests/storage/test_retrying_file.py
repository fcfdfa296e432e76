"""Large files from services that are busy from time to time."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from img2ds.storage import retrying_file
from img2ds.storage.retrying_file import ATTEMPTS, RetryingFile, read_whole
from tests.storage.busy_server import BusyServer

DATA = random.Random(1).randbytes(100_000)


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays that would have been slept."""
    found: list[float] = []
    monkeypatch.setattr(retrying_file, "sleep", found.append)
    monkeypatch.setattr(retrying_file, "BLOCK", 30_000)
    return found


def read(path: str, size: int = 7000) -> tuple[bytes, int]:
    with RetryingFile(path) as file:
        pieces = []
        while piece := file.read(size):
            assert len(piece) <= size
            pieces.append(piece)
        return b"".join(pieces), file.bytes_read


def test_a_local_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    assert read(f"{tmp_path}/a") == (DATA, len(DATA))
    assert read(f"file://{tmp_path}/a")[0] == DATA
    with pytest.raises(FileNotFoundError):
        read(f"{tmp_path}/none")


def test_each_range_is_retried_on_its_own(delays: list[float]) -> None:
    with BusyServer({"/a": DATA}) as server:
        assert read(f"{server.url}/a") == (DATA, len(DATA))
        assert server.asked == [
            "bytes=0-29999", "bytes=30000-59999", "bytes=60000-89999", "bytes=90000-99999",
        ]  # fmt: skip
        assert not delays
        server.asked.clear()
        with RetryingFile(f"{server.url}/a") as file:
            first = file.read(30_000)
            server.refuse(503, 403, 429, 500)
            rest = b"".join(iter(lambda: file.read(30_000), b""))
        assert first + rest == DATA
        assert len(server.asked) in (7, 8)
        assert len(delays) == 4
        for delay, most in zip(delays, (1, 2, 4, 8), strict=True):
            assert most / 2 <= delay <= most


def test_it_gives_up_in_the_end(delays: list[float]) -> None:
    with BusyServer({"/a": DATA}) as server:
        server.refuse(*[503] * 100)
        with pytest.raises(OSError, match=f"{ATTEMPTS} attempts"):
            read(f"{server.url}/a")
        assert len(delays) == ATTEMPTS - 1
        assert max(delays) <= 60


def test_missing_files_are_not_retried(delays: list[float]) -> None:
    with BusyServer({}) as server, pytest.raises(FileNotFoundError):
        read_whole(f"{server.url}/none")
    assert not delays


@pytest.mark.usefixtures("delays")
def test_a_server_without_ranges() -> None:
    with BusyServer({"/a": DATA}, ranges=False) as server:
        assert read(f"{server.url}/a")[0] == DATA
        assert read_whole(f"{server.url}/a") == DATA
