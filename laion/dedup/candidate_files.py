"""Reads candidate folders: their committed files, in the order that decides which pair is first.

Files are ordered by the names of their WAT files, whatever folder or shard they are in; rows keep
their order in the file. The result therefore depends neither on the number of workers nor on the
names of folders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from img2ds.core.naming import committed_shards, shard_name
from img2ds.engine.shard_output import DIGITS
from img2ds.storage import InputFile, OutputFolder, find_inputs, open_seekable
from laion.data.candidate import CANDIDATE_SCHEMA
from laion.data.partition import PARTITION_COUNT, row_group_partitions

#: Columns with few values.
REPEATED = ("license", "language", "page_language", "wat")
#: Footers read at once: with remote files reading is mostly waiting.
PARALLEL_FILES = 16


@dataclass(frozen=True, slots=True)
class CandidateFile:
    """A shard of candidates: its rows by partition, and the name of its first WAT file."""

    file: InputFile
    wat: str
    rows: tuple[int, ...]


def find_candidates(folders: Sequence[str], output_folder: str) -> list[CandidateFile]:
    """Return the committed files of candidate folders, in order.

    Raises:
        UsageError: a folder has none, is given twice or is the output folder, or a file has other
            content.
    """
    output = OutputFolder.open(output_folder).path
    files: list[InputFile] = []
    for folder in folders:
        committed = {
            f"{shard_name(number, DIGITS)}.parquet"
            for number in committed_shards(OutputFolder.open(folder).names())
        }
        found = [file for file in find_inputs(folder, [".parquet"]) if file.name in committed]
        if not found:
            raise UsageError(f"{folder} has no committed shards: run laion extract, which makes it")
        files += found
    if len({file.path for file in files}) < len(files):
        raise UsageError(
            "a folder is given twice, and all its pairs would be duplicates: name it once"
        )
    if any(file.path.rpartition("/")[0] == output for file in files):
        raise UsageError(
            f"{output} is an input too, whose files are replaced: choose another --output_folder"
        )
    with ThreadPoolExecutor(PARALLEL_FILES) as pool:
        candidates = list(pool.map(_inspect, files))
    return sorted(candidates, key=lambda candidate: (candidate.wat, candidate.file.path))


def read_partition(
    paths: Sequence[str], partition: int, columns: Sequence[str], rows: int
) -> Iterator[pa.Table]:
    """Yield the rows of one partition in order, at least `rows` at once except at the end.

    Columns of `REPEATED` are dictionaries, which are many times faster to copy than texts.

    Raises:
        UsageError, OSError, pyarrow.ArrowException: a file is gone or damaged.
    """
    held: list[pa.Table] = []
    count = 0
    for path in paths:
        with _open(path, REPEATED) as file:
            # Groups are read together: a call costs as much as some hundred rows.
            groups: list[int] = []
            for group, number in enumerate(_partitions(file, path)):
                if number != partition:
                    continue
                groups.append(group)
                count += file.metadata.row_group(group).num_rows
                if count >= rows:
                    yield pa.concat_tables([*held, _read(file, groups, columns)])
                    held, groups, count = [], [], 0
            if groups:
                held.append(_read(file, groups, columns))
    if count:
        yield pa.concat_tables(held)


def _read(file: pq.ParquetFile, groups: list[int], columns: Sequence[str]) -> pa.Table:
    table = file.read_row_groups(groups, columns=list(columns), use_threads=False)
    return table.replace_schema_metadata(None)


@contextmanager
def _open(path: str, dictionaries: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    source = open_seekable(path)
    try:
        with pq.ParquetFile(source, read_dictionary=list(dictionaries)) as file:
            yield file
    finally:
        if not isinstance(source, str):
            source.close()


def _inspect(file: InputFile) -> CandidateFile:
    try:
        with _open(file.path) as parquet:
            if not parquet.schema_arrow.remove_metadata().equals(CANDIDATE_SCHEMA):
                raise UsageError(
                    f"{file.path} is not a candidate file of laion extract; its columns are: "
                    f"{', '.join(parquet.schema_arrow.names)}"
                )
            rows = [0] * PARTITION_COUNT
            for group, partition in enumerate(_partitions(parquet, file.path)):
                rows[partition] += parquet.metadata.row_group(group).num_rows
            return CandidateFile(file, _first_wat(parquet), tuple(rows))
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read {file.path}: {error}") from None


def _partitions(file: pq.ParquetFile, path: str) -> list[int]:
    try:
        return row_group_partitions(file)
    except ValueError:
        raise UsageError(
            f"{path} does not record the partitions of its row groups: run this version of "
            "laion extract again"
        ) from None


def _first_wat(file: pq.ParquetFile) -> str:
    column = CANDIDATE_SCHEMA.get_field_index("wat")
    for group in range(file.num_row_groups):
        statistics = file.metadata.row_group(group).column(column).statistics
        if statistics is not None and statistics.has_min_max:
            return str(statistics.min)
        table = file.read_row_group(group, columns=["wat"])
        if table.num_rows:
            return str(table["wat"][0])
    return ""
