"""The tree that scored and tagged pairs lie in, which is clip-retrieval's layout.

`metadata/metadata_N.parquet`, `img_emb/img_emb_N.npy`, `text_emb/text_emb_N.npy`, N a number with
or without zeros before it: row i of each is the same pair. Embeddings are float16, unit rows.
Marks, where there are any, say which parts count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from img2ds.core.naming import committed_shards, stats_name
from img2ds.engine.fingerprint import FileFingerprint, fingerprint
from img2ds.engine.marker import load_marker
from img2ds.engine.shard_output import DIGITS
from img2ds.storage import OutputFolder, find_inputs, open_seekable
from laion.provenance import ModelNames, made_from, read_model, segments_of

METADATA = "metadata/metadata_{}.parquet"
IMAGES = "img_emb/img_emb_{}.npy"
TEXTS = "text_emb/text_emb_{}.npy"
#: Columns that every stage after scoring needs.
REQUIRED = ("url", "caption", "similarity")

#: Rows that are copied at once: 2048 of 512 float16 numbers are 2 MB.
BLOCK = 2048

_NUMBER = re.compile(r"metadata_(\d+)\.parquet")

Embeddings = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class ScoredPart:
    """One part of a scored folder: its number as its files' names have it, zeros and all, and the
    size of its table in bytes.
    """

    folder: str
    name: str
    size: int | None = None

    @property
    def number(self) -> int:
        return int(self.name)

    def path(self, kind: str) -> str:
        """Where a file of the part lies: `kind` is METADATA, IMAGES or TEXTS."""
        return f"{self.folder}/{kind.format(self.name)}"

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """Its rows. Raises OSError, UsageError, ArrowException."""
        return pq.read_table(open_seekable(self.path(METADATA)), columns=columns)

    def schema(self) -> pa.Schema:
        """Its columns. Raises OSError, UsageError, ArrowException."""
        with pq.ParquetFile(open_seekable(self.path(METADATA))) as file:
            return file.schema_arrow

    def rows(self) -> int:
        """How many rows it has. Raises OSError, UsageError, ArrowException."""
        with pq.ParquetFile(open_seekable(self.path(METADATA))) as file:
            return int(file.metadata.num_rows)

    def embeddings(self, kind: str) -> Embeddings:
        """Its embeddings, a row a pair; mapped, not read, where they lie on this machine.

        Raises:
            UsageError: the file is missing, or is no array of one row a pair.
            OSError: it cannot be read.
        """
        path = self.path(kind)
        source = open_seekable(path) if "://" in path else path
        try:
            array: Embeddings = np.load(
                source, mmap_mode="r" if source is path else None, allow_pickle=False
            )
        except FileNotFoundError:
            raise UsageError(f"{path} is missing: laion score writes it") from None
        except ValueError as error:
            raise UsageError(f"{path} cannot be read as an array: {error}") from None
        if array.ndim != 2:
            raise UsageError(f"{path} holds an array of {array.ndim} dimensions, not of two")
        return array


@dataclass(frozen=True, slots=True)
class ScoredFolder:
    """The parts of a scored folder in the order of their numbers.

    `model` is what its embeddings were made with, and `made_from` the folder it was made from, as
    far as it tells.
    """

    path: str
    parts: tuple[ScoredPart, ...]
    model: ModelNames
    made_from: str | None

    def fingerprint(self) -> dict[str, Any]:
        """What tells this input from another: its parts as they were first committed.

        Purging takes rows out of a folder that has been read already; its markers remember what
        the part was, so that a run that was cut off while purging is not refused its own input.
        """
        folder = OutputFolder.open(self.path)
        marked = committed_shards(folder.names())
        files = []
        for part in self.parts:
            name, size = METADATA.format(part.name), part.size
            if part.number in marked:
                marker = load_marker(folder, stats_name(part.number, DIGITS))
                records = marker.files_before_purge or marker.files or ()
                size = next((r.size for r in records if r.name == name), size)
            files.append(FileFingerprint(f"{self.path}/{name}", size))
        return fingerprint("scored", files)


def open_scored(path: str, required: tuple[str, ...] = REQUIRED) -> ScoredFolder:
    """Find the parts of a scored or tagged folder, and look at the first.

    Raises:
        UsageError: there are none, parts are not committed yet, or columns are missing.
    """
    if not path:
        raise UsageError("--input is required: a folder that laion score or laion tag wrote")
    folder = OutputFolder.open(path)
    files: dict[int, ScoredPart] = {}
    if folder.names("metadata"):
        for file in find_inputs(f"{folder.path}/metadata", (".parquet",)):
            if match := _NUMBER.fullmatch(file.name):
                files[int(match[1])] = ScoredPart(folder.path, match[1], file.size)
    if not files:
        if not folder.names():
            raise UsageError(f"--input {path}: there is no such folder, or nothing in it")
        raise UsageError(
            f"{path} has no metadata/metadata_N.parquet: name a folder that laion score or "
            "laion tag wrote"
        )
    segments = segments_of(folder)
    if segments:
        marked = committed_shards(folder.names())
        missing = sum(s.shard_count or 0 for s in segments) - len(marked)
        if missing > 0:
            raise UsageError(
                f"{path} is not finished, {missing} of its parts are missing: run the command "
                "that makes it again"
            )
        files = {number: part for number, part in files.items() if number in marked}
    parts = tuple(files[number] for number in sorted(files))
    if not parts:
        raise UsageError(f"{path} has no parts")
    try:
        columns = parts[0].schema().names
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{parts[0].path(METADATA)} cannot be read: {error}") from None
    for name in required:
        if name not in columns:
            raise UsageError(
                f"{parts[0].path(METADATA)} has no column {name}; it has: {', '.join(columns)}"
            )
    return ScoredFolder(folder.path, parts, read_model(folder), made_from(folder))


def unified_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """One schema that the tables of all parts fit into.

    A part in which a column has no value may have it with another type, or not at all. Numbers
    become the wider type; what is of different kinds becomes text.
    """
    kinds: dict[str, list[pa.DataType]] = {}
    for schema in schemas:
        for column in schema:
            found = kinds.setdefault(column.name, [])
            if column.type not in found and not pa.types.is_null(column.type):
                found.append(column.type)
    return pa.schema([pa.field(name, _common(found)) for name, found in kinds.items()])


def _common(kinds: list[pa.DataType]) -> pa.DataType:
    if len(kinds) == 1:
        return kinds[0]
    if kinds and all(pa.types.is_integer(kind) for kind in kinds):
        return pa.int64()
    numbers = (pa.types.is_integer, pa.types.is_floating)
    if kinds and all(any(test(kind) for test in numbers) for kind in kinds):
        return pa.float64()
    return pa.string()


def as_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in the columns of a `unified_schema`; columns that it lacks are null."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def blocks(array: Embeddings, mask: npt.NDArray[np.bool_]) -> Iterator[Embeddings]:
    """The rows of `array` where `mask` holds, a block at a time."""
    for start in range(0, len(mask), BLOCK):
        kept = mask[start : start + BLOCK]
        if kept.any():
            yield np.asarray(array[start : start + BLOCK])[kept]


class ArrayFile:
    """A `.npy` file of `rows` rows that is written block by block; memory is one block's.

    Written, not mapped: a full disk would end the process.
    """

    def __init__(self, path: str, rows: int, like: Embeddings) -> None:
        self._rows = rows
        self._dtype = like.dtype
        self._file = open(path, "wb")  # noqa: SIM115
        header = {
            "descr": np.lib.format.dtype_to_descr(like.dtype),
            "fortran_order": False,
            "shape": (rows, like.shape[1]),
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def add(self, source: Embeddings, mask: npt.NDArray[np.bool_]) -> None:
        """Append the rows of `source` where `mask` holds. Raises OSError."""
        for block in blocks(source, mask):
            self._file.write(np.ascontiguousarray(block, self._dtype).data)
            self._rows -= len(block)

    def close(self) -> None:
        """Raises OSError when the disk does not take the last bytes."""
        assert not self._rows, "as many rows as were announced"
        self._file.close()


def copy_part(
    part: ScoredPart,
    table: pa.Table,
    mask: npt.NDArray[np.bool_],
    name: str,
    path: Callable[[str], str],
) -> None:
    """Write the rows of a part where `mask` holds, as part `name`.

    Args:
        table: all rows of the part, with the columns that are to be written.
        path: maps the name of a file to the local path to write it to.
    """
    pq.write_table(table.filter(pa.array(mask)), path(METADATA.format(name)))
    for kind in (IMAGES, TEXTS):
        source = part.embeddings(kind)
        check_aligned(part, kind, source, table.num_rows)
        file = ArrayFile(path(kind.format(name)), int(mask.sum()), source)
        file.add(source, mask)
        file.close()


def check_aligned(part: ScoredPart, kind: str, array: Embeddings, rows: int) -> None:
    """Raises UsageError when the embeddings are not one row a pair."""
    if len(array) != rows:
        raise UsageError(
            f"{part.path(kind)} has {len(array)} rows and {part.path(METADATA)} {rows}: they "
            "are not of one run"
        )
