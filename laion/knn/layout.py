"""An embedding folder: its parts found, and refused where their row counts differ.

The layout is clip-retrieval's: `img_emb/img_emb_N.npy`, `text_emb/text_emb_N.npy` and
`metadata/metadata_N.parquet`, row by row of the same pairs; N may be padded with zeros.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from img2ds.storage import InputFile, find_inputs, open_seekable

#: The kinds of embeddings, and the folder that holds each.
FOLDERS = {"image": "img_emb", "text": "text_emb"}

_NUMBER = re.compile(r"(\d+)\.\w+$")


@dataclass(frozen=True, slots=True)
class EmbeddingPart:
    """The files of one part, and its rows. `arrays` maps `image` and `text` to their files."""

    name: str
    rows: int
    metadata: InputFile
    arrays: dict[str, InputFile] = field(default_factory=dict)

    @property
    def files(self) -> list[InputFile]:
        return [self.metadata, *self.arrays.values()]


@dataclass(frozen=True, slots=True)
class EmbeddingFolder:
    """All parts in the order of their numbers; every array has `dimension` columns."""

    path: str
    parts: tuple[EmbeddingPart, ...]
    kinds: tuple[str, ...]
    dimension: int

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)


def open_embeddings(path: str) -> EmbeddingFolder:
    """Look through an embedding folder: footers and headers alone are read.

    Raises:
        UsageError: it is not an embedding folder, or rows or dimensions do not agree.
    """
    metadata = _numbered(path, "metadata", (".parquet",))
    arrays = {
        kind: files
        for kind, folder in FOLDERS.items()
        if (files := _numbered(path, folder, (".npy",), required=False))
    }
    if not arrays:
        raise UsageError(
            f"{path} holds no embeddings: expected img_emb/img_emb_0.npy or text_emb/text_emb_0.npy"
        )
    dimensions: set[int] = set()
    parts = []
    for kind, files in arrays.items():
        for number in sorted(files.keys() ^ metadata.keys()):
            lone, other = (
                (files[number], f"metadata_{number}.parquet")
                if number in files
                else (metadata[number], f"{FOLDERS[kind]}_{number}.npy")
            )
            raise UsageError(f"{lone.path} has no counterpart: {other} is missing")
    for number, file in sorted(metadata.items()):
        here = {kind: files[number] for kind, files in arrays.items()}
        rows = _parquet_rows(file)
        for array in here.values():
            count, dimension = array_shape(array)
            if count:  # an empty array may have any width
                dimensions.add(dimension)
            if count != rows:
                raise UsageError(
                    f"{array.path} has {count} rows and {file.path} has {rows}: "
                    "write the embeddings and their metadata in one run"
                )
        parts.append(EmbeddingPart(str(number), rows, file, here))
    if not sum(part.rows for part in parts):
        raise UsageError(f"the embeddings in {path} have no rows")
    if len(dimensions) > 1:
        several = " and ".join(map(str, sorted(dimensions)))
        raise UsageError(
            f"the embeddings in {path} have {several} dimensions: use the embeddings of one model"
        )
    return EmbeddingFolder(path, tuple(parts), tuple(arrays), dimensions.pop())


def _numbered(
    path: str, folder: str, endings: tuple[str, ...], required: bool = True
) -> dict[int, InputFile]:
    try:
        found = find_inputs(f"{path.rstrip('/')}/{folder}", endings)
    except UsageError:
        if required:
            raise UsageError(
                f"{path} is not an embedding folder: there is no {folder}/{folder}_0{endings[0]} "
                "in it; `laion score` and clip-retrieval make such folders"
            ) from None
        return {}
    numbered: dict[int, InputFile] = {}
    for file in found:
        match = _NUMBER.search(file.name)
        if match is None:
            raise UsageError(f"{file.path} has no number: expected {folder}_0{endings[0]}")
        number = int(match[1])
        if number in numbered:
            raise UsageError(f"{numbered[number].path} and {file.path} have the same number")
        numbered[number] = file
    return numbered


def _parquet_rows(file: InputFile) -> int:
    try:
        with pq.ParquetFile(open_seekable(file.path)) as reader:
            return cast(int, reader.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{file.path} cannot be read as parquet: {_first(error)}") from None


def array_shape(file: InputFile) -> tuple[int, int]:
    """Rows and columns of a .npy file. Raises UsageError if it is not a matrix of floats."""
    with _open(file.path) as stream:
        shape, dtype = read_header(stream, file.path)
    if shape == (0,):  # of an empty list
        return 0, 0
    if len(shape) != 2 or dtype.kind != "f":
        raise UsageError(f"{file.path} is {dtype}{list(shape)}: expected floats [rows, dimensions]")
    return shape[0], shape[1]


def read_header(stream: IO[bytes], path: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the shape and type of a .npy file. Raises UsageError if it is none."""
    try:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, by_columns, dtype = read(stream)
    except (ValueError, EOFError) as error:
        raise UsageError(f"{path} cannot be read as .npy: {_first(error)}") from None
    if by_columns:
        raise UsageError(f"{path} is stored by columns: save it in C order")
    return shape, dtype


def _open(path: str) -> IO[bytes]:
    opened = open_seekable(path)
    return open(opened, "rb") if isinstance(opened, str) else opened


def read_blocks(file: InputFile, rows: int) -> Iterable[np.ndarray[Any, Any]]:
    """The rows of an array in blocks of at most `rows`, as stored. Raises OSError, UsageError."""
    with _open(file.path) as stream:
        shape, dtype = read_header(stream, file.path)
        if not shape[0]:
            return
        row_bytes = shape[1] * dtype.itemsize
        for start in range(0, shape[0], rows):
            count = min(rows, shape[0] - start)
            data = stream.read(count * row_bytes)
            if len(data) != count * row_bytes:
                raise UsageError(f"{file.path} ends too early")
            yield np.frombuffer(data, dtype).reshape(count, shape[1])


def local_file(file: InputFile) -> str | None:
    """The path of a file on this machine, None when it lies elsewhere."""
    return file.path if os.path.isfile(file.path) else None


def _first(error: Exception) -> str:
    words = str(error) or type(error).__name__
    return words.splitlines()[0]
