"""The images of a dataset that a list of pairs names, counted before they are packed.

Only the columns that tell a pair's number are read, and each entry of the list takes a byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from img2ds.core.failure import Status, UsageError
from img2ds.manage.read_ahead import read_ahead
from img2ds.manage.uid_list import NO_UID, UidList, columns_of, places_of, require_columns
from img2ds.report.units import counted
from img2ds.storage import OutputFolder
from img2ds.storage.digest_file import Places
from img2ds.storage.parquet import open_parquet


@dataclass(frozen=True, slots=True)
class Chosen:
    """The images that a list names.

    Attributes:
        shards: names, and how many images of each the list names.
        unlisted: images that it does not name.
        without_uid: images whose `uid` is no number.
        absent: entries of which there is no image.
    """

    shards: list[tuple[str, int]]
    unlisted: int
    without_uid: int
    absent: int

    @property
    def images(self) -> int:
        """How many images the list names."""
        return sum(count for _, count in self.shards)

    @property
    def text(self) -> str:
        """What people read at the end."""
        others = [f"{self.unlisted:,} not in the list"]
        if self.without_uid:
            others.append(f"{self.without_uid:,} without a uid")
        return (
            f"kept {counted(self.images, 'image')} ({', '.join(others)}); of the list "
            f"{counted(self.absent, 'pair')} without an image"
        )


def choose(folder: OutputFolder, shards: Sequence[tuple[str, int]], listed: UidList) -> Chosen:
    """Find the images that a list names.

    Args:
        shards: names, and how many images each has.

    Raises:
        UsageError: a table cannot be read, or does not tell the numbers of its pairs.
    """
    entries = listed.open()
    found = np.zeros(len(entries), np.bool_)
    counts: list[tuple[str, int]] = []
    unlisted = without_uid = 0

    def read(shard: tuple[str, int]) -> pa.Table:
        return _table(folder, shard[0]) if shard[1] else None

    for (name, _), table in read_ahead(folder, read, shards):
        places: Places = np.empty(0, np.int64) if table is None else places_of(table, entries)
        kept = places[places >= 0]
        found[kept] = True
        counts.append((name, len(kept)))
        nameless = int((places == NO_UID).sum())
        without_uid += nameless
        unlisted += len(places) - len(kept) - nameless
    return Chosen(counts, unlisted, without_uid, len(found) - int(found.sum()))


def _table(folder: OutputFolder, shard: str) -> pa.Table:
    """Return of the successes of a shard what tells their numbers."""
    path = f"{folder.path}/{shard}.parquet"
    try:
        with open_parquet(path) as file:
            names = file.schema_arrow.names
            require_columns(names, path)
            columns = columns_of(names)
            table = file.read(columns=[*columns, "status"], use_threads=False)
    except (OSError, pa.ArrowException) as error:
        words = str(error).splitlines()[0]
        raise UsageError(
            f"{words}; img2ds verify --output_folder {folder.path} shows what is broken"
        ) from None
    return table.filter(pc.equal(table["status"], Status.SUCCESS.value)).select(columns)
