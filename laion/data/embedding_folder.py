"""Reads embedding folders: what `laion score`, `laion tag` and clip-retrieval write.

The layout is in `embedding_layout`. Where there are commit markers, only committed shards count.
"""

from __future__ import annotations

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
from laion.data.embedding_layout import METADATA, shard_number
from laion.provenance import ModelNames, made_from, read_model, segments_of

#: Columns that every stage after scoring needs.
REQUIRED = ("url", "caption", "similarity")

Embeddings = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class EmbeddingShard:
    """One shard of an embedding folder.

    Attributes:
        name: the number as it stands in the file names, with leading zeros.
        size: size of the metadata file in bytes.
    """

    folder: str
    name: str
    size: int | None = None

    @property
    def number(self) -> int:
        return int(self.name)

    def path(self, kind: str) -> str:
        """Return the path of one of its files; `kind` is METADATA, IMAGES or TEXTS."""
        return f"{self.folder}/{kind.format(self.name)}"

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """Read the metadata. Raises OSError, UsageError, ArrowException."""
        return pq.read_table(open_seekable(self.path(METADATA)), columns=columns)

    def schema(self) -> pa.Schema:
        """Read the schema of the metadata. Raises OSError, UsageError, ArrowException."""
        with pq.ParquetFile(open_seekable(self.path(METADATA))) as file:
            return file.schema_arrow

    def rows(self) -> int:
        """Read the number of rows. Raises OSError, UsageError, ArrowException."""
        with pq.ParquetFile(open_seekable(self.path(METADATA))) as file:
            return int(file.metadata.num_rows)

    def embeddings(self, kind: str, rows: int | None = None) -> Embeddings:
        """Open the embeddings [rows, dim] of kind IMAGES or TEXTS; local files are memory-mapped.

        Args:
            rows: the number of rows of the metadata; None skips the comparison.

        Raises:
            UsageError: the file is missing, is not a matrix, or has another number of rows.
            OSError: it cannot be read.
        """
        path = self.path(kind)
        source = open_seekable(path) if "://" in path else path
        try:
            array: Embeddings = np.load(
                source, mmap_mode="r" if source is path else None, allow_pickle=False
            )
        except FileNotFoundError:
            raise UsageError(f"{path} is missing: run laion score, which writes it") from None
        except ValueError as error:
            raise UsageError(f"{path} cannot be read as a .npy array: {error}") from None
        if array.ndim != 2:
            raise UsageError(f"{path} has {array.ndim} dimensions: expected [rows, dim]")
        if rows is not None and len(array) != rows:
            raise UsageError(
                f"{path} has {len(array)} rows and {self.path(METADATA)} has {rows}: write both in "
                "one run"
            )
        return array


@dataclass(frozen=True, slots=True)
class EmbeddingFolder:
    """The shards of an embedding folder in the order of their numbers.

    Attributes:
        model: the model that made the embeddings, as far as the folder records it.
        made_from: the folder that this one was made from, None when it is not recorded.
    """

    path: str
    shards: tuple[EmbeddingShard, ...]
    model: ModelNames
    made_from: str | None

    def fingerprint(self) -> dict[str, Any]:
        """Return the fingerprint of this input: its shards as they were first committed.

        `laion tag --purge` removes rows from its own input. The commit markers remember the
        sizes before, so that an interrupted purge can be resumed.
        """
        folder = OutputFolder.open(self.path)
        committed = committed_shards(folder.names())
        files = []
        for shard in self.shards:
            name, size = METADATA.format(shard.name), shard.size
            if shard.number in committed:
                marker = load_marker(folder, stats_name(shard.number, DIGITS))
                records = marker.files_before_purge or marker.files or ()
                size = next((r.size for r in records if r.name == name), size)
            files.append(FileFingerprint(f"{self.path}/{name}", size))
        return fingerprint("scored", files)


def open_embedding_folder(path: str, required: tuple[str, ...] = REQUIRED) -> EmbeddingFolder:
    """Find the shards of an embedding folder and check the columns of the first.

    Raises:
        UsageError: there are no shards, some are not committed yet, or columns are missing.
    """
    if not path:
        raise UsageError("--input is required: a folder that laion score or laion tag wrote")
    folder = OutputFolder.open(path)
    shards = _committed(folder, path, _find_shards(folder, path))
    try:
        columns = shards[0].schema().names
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{shards[0].path(METADATA)} cannot be read: {error}") from None
    for name in required:
        if name not in columns:
            raise UsageError(
                f"{shards[0].path(METADATA)} has no column {name}; it has: {', '.join(columns)}"
            )
    return EmbeddingFolder(folder.path, shards, read_model(folder), made_from(folder))


def _find_shards(folder: OutputFolder, path: str) -> dict[int, EmbeddingShard]:
    found: dict[int, EmbeddingShard] = {}
    if folder.names("metadata"):
        for file in find_inputs(f"{folder.path}/metadata", (".parquet",)):
            if name := shard_number(file.name):
                found[int(name)] = EmbeddingShard(folder.path, name, file.size)
    if not found and not folder.names():
        raise UsageError(f"--input {path}: there is no such folder, or it is empty")
    if not found:
        raise UsageError(
            f"{path} has no {METADATA.format('N')}: use a folder that laion score or laion tag "
            "wrote"
        )
    return found


def _committed(
    folder: OutputFolder, path: str, found: dict[int, EmbeddingShard]
) -> tuple[EmbeddingShard, ...]:
    """Keep the committed shards where a manifest says how many there should be."""
    if segments := segments_of(folder):
        committed = committed_shards(folder.names())
        missing = sum(s.shard_count or 0 for s in segments) - len(committed)
        if missing > 0:
            raise UsageError(
                f"{path} is not finished, {missing} of its shards are missing: rerun the command "
                "that writes it"
            )
        found = {number: shard for number, shard in found.items() if number in committed}
    if not found:
        raise UsageError(f"{path} has no shards")
    return tuple(found[number] for number in sorted(found))
