"""The rows of a partition come in the same batches from remote files, in few requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from img2ds.storage import InputFile, Range, find_inputs, read_ranges
from laion.data.candidate import CANDIDATE_SCHEMA
from laion.data.partition import PARTITION_COUNT
from laion.dedup import partition_reader
from laion.dedup.partition_reader import read_partition
from tests.laion.dedup.candidate_folders import rows, write_folder

PLACE = "memory://candidates"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates of five WAT files, and the same on a service."""
    parts = [rows(900, n, f"{n:05d}.warc.wat.gz", 3000) for n in range(5)]
    folder = write_folder(tmp_path_factory.mktemp("candidates") / "in", parts)
    fs = fsspec.filesystem("memory")
    for path in folder.glob("*.parquet"):
        fs.pipe(f"/candidates/{path.name}", path.read_bytes())
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many ranges were requested at once."""
    found: list[int] = []

    def counted(wanted: list[Range]) -> list[bytes]:
        found.append(len(wanted))
        return read_ranges(wanted)

    monkeypatch.setattr(partition_reader, "read_ranges", counted)
    return found


def tables(files: list[InputFile], columns: list[str], size: int) -> Iterator[list[pa.Table]]:
    for partition in range(0, PARTITION_COUNT, 9):
        yield [t.combine_chunks() for t in read_partition(files, partition, columns, size)]


@pytest.mark.parametrize("columns", [CANDIDATE_SCHEMA.names, ["digest"]], ids=["all", "digest"])
@pytest.mark.parametrize("size", [1, 20, 10_000])
def test_batches_are_those_of_local_files(
    local: Path, columns: list[str], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_reader, "TOGETHER", 2)
    monkeypatch.setattr(partition_reader, "FOOTER", 1000)  # read again
    here, there = (find_inputs(place, [".parquet"]) for place in (str(local), PLACE))
    assert len(here) == len(there) == 5
    found = list(tables(there, columns, size))
    assert found == list(tables(here, columns, size))
    assert all(found)


def test_a_file_takes_two_requests(local: Path, asked: list[int]) -> None:
    files = find_inputs(PLACE, [".parquet"])
    list(read_partition(files, 7, CANDIDATE_SCHEMA.names, 10_000))
    assert asked == [5, 0, 5], "footers, longer footers, row groups"


def test_files_of_several_services_are_opened_one_by_one(local: Path, asked: list[int]) -> None:
    here, there = (find_inputs(place, [".parquet"]) for place in (str(local), PLACE))
    names = CANDIDATE_SCHEMA.names
    mixed = list(read_partition([*there[:2], *here[2:]], 7, names, 1))
    assert mixed == list(read_partition(here, 7, names, 1))
    assert not asked


def test_a_missing_file_is_an_error(local: Path) -> None:
    gone = InputFile(f"{PLACE}/gone.parquet", 100)
    with pytest.raises(FileNotFoundError):
        list(read_partition([gone], 7, CANDIDATE_SCHEMA.names, 10_000))
