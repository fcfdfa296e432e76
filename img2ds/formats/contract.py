"""The protocols of an output format: what writes a shard, and what reads a committed one back.

The metadata table and the commit marker are the same for every format: `metadata_table` and
`engine` write those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from img2ds.core.naming import FormatNames
from img2ds.core.sample import FileRecord, Sample
from img2ds.storage import OutputFolder

#: Maps the name of a file of the output folder to the local path where it is staged.
StagingPath = Callable[[str], str]
#: Bytes and sha256 in hex of a file; of a folder, of all in it, as its commit marker has them.
Digest = tuple[int, str]


class ShardWriter(Protocol):
    """Receives the successful rows of one shard, in the order they finish, and stages its data."""

    #: Whether the shard has a separate metadata table, `NNNNN.parquet`.
    has_metadata_file: bool

    def add(self, sample: Sample) -> None:
        """Write one sample. Raises OSError."""
        ...

    def finish(self, metadata: pa.Table) -> list[FileRecord]:
        """Complete and flush the data files; return a record of each, in publishing order.

        Args:
            metadata: all rows of the shard in key order, including failed ones.
        """
        ...

    def abort(self) -> None:
        """Close all open files, which are then removed. May be called twice."""
        ...


class DamagedShardError(ValueError):
    """The data of a shard cannot be read further; the message says why, in a few words."""


@dataclass(slots=True)
class StoredSample:
    """One sample: its key, and its parts by extension: `jpg`, `txt`, `json`."""

    key: str
    parts: dict[str, bytes] = field(default_factory=dict)


class ShardReader(Protocol):
    """The data of one committed shard, without its metadata table.

    Attributes:
        has_json, has_captions: whether each sample carries its metadata as a part, and its caption
            where the dataset has any; the metadata table has them in any case.
    """

    has_json: bool
    has_captions: bool

    @property
    def names(self) -> list[str]:
        """The files and folders that hold the samples, relative to the output folder."""
        ...

    def samples(self) -> Iterator[StoredSample]:
        """Yield every sample, in the order in which it is stored.

        Raises:
            DamagedShardError: it cannot be read further.
            OSError: a file cannot be read, or is missing.
        """
        ...

    def digests(self) -> Mapping[str, Digest]:
        """Return the digest, by name, of each file that `samples` has read to its end."""
        ...


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """An output format: how its shards are written and read back, and what they are called.

    Attributes:
        writer: takes the name of the data (file or folder), the extension of images, and where
            to stage files. Raises OSError when the file cannot be created.
        reader: takes the output folder, the name of the data, and the extension of images, None
            where it is not known; reads nothing yet.
        names: what its files are called.
        requirement: raises UsageError where a package that writing needs is not installed.
        finish: writes what readers need of the whole folder, the file `names.index`. Called at the
            end of a run, while the folder is locked, also where shards are missing still.
    """

    writer: Callable[[str, str, StagingPath], ShardWriter]
    reader: Callable[[OutputFolder, str, str | None], ShardReader]
    names: FormatNames
    requirement: Callable[[], object] | None = None
    finish: Callable[[OutputFolder], None] | None = None
