"""The pairs that `img2ds reshard --uids` keeps: a list in DataComp's format.

The list is compiled into the cache of the user, as a sorted file that all processes map, so that it
may have any number of entries.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from img2ds.core.failure import UsageError
from img2ds.core.uid import RECORD, UID, is_uid, uid_words
from img2ds.storage import InputStream, find_inputs
from img2ds.storage.cache import cache_folder, cache_lock, content_key, remove_unused, touch
from img2ds.storage.digest_file import DigestFile, Places, write_digests
from img2ds.storage.filesystem import as_usage_error

#: The place of a pair that has no number, and of one that is not in a list.
NO_UID, UNLISTED = -2, -1
#: Entries that are read at once.
_BATCH = 1 << 16

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class UidList:
    """A compiled list.

    Attributes:
        digest: identifies the set of its entries.
    """

    path: Path
    digest: str

    @classmethod
    def compile(cls, path: str) -> UidList:
        """Compile the file at `path`, unless that was done. Blocks.

        Raises:
            UsageError: it cannot be read, or is no such list.
        """
        try:
            files = find_inputs(path, [".npy"])
        except UsageError as error:
            raise UsageError(f"--uids: {error}") from None
        if len(files) != 1:
            raise UsageError(f"--uids takes one file, {path} has {len(files)}")
        with as_usage_error("use --uids"):
            folder = cache_folder("uids")
            compiled = folder / f"{content_key(files)}.digests"
            note = compiled.with_suffix(".sha256")
            with cache_lock(folder, compiled.stem):
                if not note.exists() or not compiled.exists():
                    staged = compiled.with_suffix(".part")
                    _, digest = write_digests(staged, _batches(files[0].path))
                    os.replace(staged, compiled)
                    note.write_text(digest)
            remove_unused(folder)
            touch(compiled)
            touch(note)
            return cls(compiled, note.read_text())

    def open(self) -> DigestFile:
        """Map the list. Raises OSError."""
        return DigestFile(self.path)


def _batches(path: str) -> Iterator[bytes]:
    try:
        with io.BufferedReader(InputStream(path)) as file:
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
                version, np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(file)
            if dtype != RECORD or len(shape) != 1:
                raise ValueError(f"it has {dtype} {list(shape)}")
            left = shape[0]
            while left:
                data = file.read(min(left, _BATCH) * RECORD.itemsize)
                count = len(data) // RECORD.itemsize
                if not count:
                    raise ValueError("its end is missing")
                left -= count
                yield np.frombuffer(data, "<u8", 2 * count).astype(">u8").tobytes()
    except ValueError as error:
        raise UsageError(
            f"--uids {path} is not a list of DataComp's, a numpy file of u8,u8 ({error}): give the "
            "uids.npy that laion filter --uids writes"
        ) from None


def require_columns(names: Sequence[str], where: str) -> None:
    """Raise UsageError when a table has no column that tells the numbers of its pairs."""
    if UID in names:
        return
    if not {"url", "caption"} <= set(names):
        raise UsageError(f"--uids needs the column {UID}, or url and caption, in {where}")
    try:
        import xxhash  # noqa: F401
    except ImportError:
        raise UsageError(
            "--uids compares pairs by their URL and caption, which needs the package xxhash: "
            "pip install 'img2ds[extract]'"
        ) from None


def columns_of(names: Sequence[str]) -> list[str]:
    """Return the columns that tell the numbers of pairs, of those that a table has."""
    return [UID] if UID in names else ["url", "caption"]


def places_of(table: pa.Table, listed: DigestFile) -> Places:
    """Return the place of each row in the list, or `UNLISTED` or `NO_UID`."""
    if UID in table.column_names:
        values: list[Any] = table[UID].to_pylist()
        rows = [row for row, value in enumerate(values) if is_uid(value)]
        words = uid_words([values[row] for row in rows])
    else:
        from img2ds.core.pair_digest import pair_digests

        words = pair_digests(*(table[name].to_pylist() for name in ("url", "caption")))
        rows = [*range(len(words))]
    places = np.full(table.num_rows, NO_UID, np.int64)
    places[rows] = listed.places(words[:, 0].copy(), words[:, 1].copy())
    return places
