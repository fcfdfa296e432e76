"""Reads embedding folders: what `laion score`, `laion tag` and clip-retrieval write.

The layout is in `embedding_layout`. Where there are commit markers, only committed shards count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from img2ds.core.naming import committed_shards, stats_name
from img2ds.core.state import state_file
from img2ds.engine.fingerprint import FileFingerprint, fingerprint
from img2ds.engine.marker import load_markers
from img2ds.engine.shard_output import DIGITS
from img2ds.storage import OutputFolder, find_inputs, open_seekable
from laion.data.embedding_layout import IMAGES, METADATA, TEXTS, shard_number
from laion.provenance import ModelNames, made_from, options_of, read_model, segments_of

#: The cosine of a pair: computed where the metadata lack it, as clip-retrieval's do.
SIMILARITY = "similarity"
#: The journal of a removal of pairs that is under way.
PURGE = state_file("purge")
#: Columns of pairs that can be released.
PAIRS = ("url", "caption", SIMILARITY)

#: What to do about a column that is missing.
_HINTS = {
    "url": "; pairs without a URL cannot be released: embed tars or tables that have it in their "
    "metadata (clip-retrieval: --enable_metadata)",
    "caption": "; embed images and captions",
}

#: Rows whose cosines are computed at once.
_BLOCK = 8192

Embeddings = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class EmbeddingShard:
    """One shard of an embedding folder.

    Attributes:
        name: the number as it stands in the file names, with leading zeros.
        size: size of the metadata file in bytes.
        unscored: whether the metadata lack the similarity, so that it is computed.
    """

    folder: str
    name: str
    size: int | None = None
    unscored: bool = False

    @property
    def number(self) -> int:
        return int(self.name)

    def path(self, kind: str) -> str:
        """Return the path of one of its files; `kind` is METADATA, IMAGES or TEXTS."""
        return f"{self.folder}/{kind.format(self.name)}"

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """Read the metadata. Raises OSError, UsageError, ArrowException."""
        scores = self.unscored and (columns is None or SIMILARITY in columns)
        if scores and columns is not None:
            columns = [name for name in columns if name != SIMILARITY]
        table = pq.read_table(open_seekable(self.path(METADATA)), columns=columns)
        if not scores:
            return table
        return table.append_column(SIMILARITY, pa.array(self._similarity(table.num_rows)))

    def schema(self) -> pa.Schema:
        """Read the schema of the metadata. Raises OSError, UsageError, ArrowException."""
        with pq.ParquetFile(open_seekable(self.path(METADATA))) as file:
            schema = file.schema_arrow
        return schema.append(pa.field(SIMILARITY, pa.float64())) if self.unscored else schema

    def _similarity(self, rows: int) -> npt.NDArray[np.float64]:
        """Compute the cosine of each pair; NaN where an embedding is zero."""
        images, texts = (self.embeddings(kind, rows) for kind in (IMAGES, TEXTS))
        found = np.empty(rows, np.float64)
        for start in range(0, rows, _BLOCK):
            image, text = (
                np.asarray(array[start : start + _BLOCK], np.float32) for array in (images, texts)
            )
            with np.errstate(invalid="ignore"):
                lengths = np.linalg.norm(image, axis=1) * np.linalg.norm(text, axis=1)
                found[start : start + _BLOCK] = (image * text).sum(axis=1) / lengths
        return found

    def rows(self) -> int:
        """Read the number of rows. Raises OSError, UsageError, ArrowException."""
        with pq.ParquetFile(open_seekable(self.path(METADATA))) as file:
            return int(file.metadata.num_rows)

    def kinds(self) -> tuple[str, ...]:
        """Return which of IMAGES and TEXTS there are."""
        folder = OutputFolder.open(self.folder)
        return tuple(
            kind
            for kind in (IMAGES, TEXTS)
            if kind.format(self.name) in folder.names(kind.partition("/")[0])
        )

    def embeddings(self, kind: str, rows: int | None = None) -> Embeddings:
        """Open the embeddings [rows, dim] of kind IMAGES or TEXTS; local files are memory-mapped.

        Args:
            rows: the number of rows of the metadata; None skips the comparison.

        Raises:
            UsageError: the file is missing, is not a matrix, or has another number of rows.
            OSError: it cannot be read.
        """
        path = self.path(kind)
        try:
            array = _open_array(path)
        except FileNotFoundError:
            raise UsageError(
                f"{path} is missing: embed images and captions, as laion score does"
            ) from None
        except ValueError as error:
            raise UsageError(f"{path} cannot be read as a .npy array: {error}") from None
        if array.shape == (0,):  # of an empty list
            array = array.reshape(0, 0)
        if array.ndim != 2:
            raise UsageError(f"{path} has {array.ndim} dimensions: expected [rows, dim]")
        if rows is not None and len(array) != rows:
            raise UsageError(
                f"{path} has {len(array)} rows and {self.path(METADATA)} has {rows}: write both in "
                "one run"
            )
        return array


def _open_array(path: str) -> Embeddings:
    if "://" in path:
        array: Embeddings = np.load(open_seekable(path), allow_pickle=False)
        return array
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:  # a file without rows cannot be mapped
        array = np.load(path, allow_pickle=False)
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
        own = [stats_name(s.number, DIGITS) for s in self.shards if s.number in committed]
        markers = load_markers(folder, own)
        files = []
        for shard in self.shards:
            name, size = METADATA.format(shard.name), shard.size
            if shard.number in committed:
                _, marker = next(markers)
                records = marker.files_before_purge or marker.files or ()
                size = next((r.size for r in records if r.name == name), size)
            files.append(FileFingerprint(f"{self.path}/{name}", size))
        return fingerprint("scored", files)


def open_embedding_folder(
    path: str, required: tuple[str, ...] = PAIRS, unfinished_purge: bool = False
) -> EmbeddingFolder:
    """Find the shards of an embedding folder and check the columns of the first.

    Args:
        required: columns that the metadata must have; similarities are computed where they are
            missing and both kinds of embeddings are there.
        unfinished_purge: whether pairs may be half removed, see `release.purges`.

    Raises:
        UsageError: there are no shards, some are not committed yet, or columns are missing.
    """
    if not path:
        raise UsageError("--input is required: a folder that laion score or laion tag wrote")
    folder = OutputFolder.open(path)
    shards = _committed(folder, path, _find_shards(folder, path))
    if not unfinished_purge and folder.exists(PURGE):
        raise UsageError(
            f"a removal of pairs from {path} was cut off: complete it with "
            f"laion tag --purge --input {path}"
        )
    first = shards[0]
    try:
        columns = first.schema().names
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{first.path(METADATA)} cannot be read: {error}") from None
    for name in required:
        if name in columns:
            continue
        if name == SIMILARITY:
            for kind in (IMAGES, TEXTS):
                first.embeddings(kind)  # raises for one that is missing
            shards = tuple(replace(shard, unscored=True) for shard in shards)
            continue
        raise UsageError(
            f"{first.path(METADATA)} has no column {name}; it has: {', '.join(columns)}"
            f"{_HINTS.get(name, '')}"
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
    if not found and options_of(folder).get("stage") and committed_shards(folder.names()):
        raise UsageError(f"{path} has no pairs: its NNNNN_stats.json count why each was dropped")
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
