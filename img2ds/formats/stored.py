"""What reading a committed shard's samples back is: the protocol, and its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

#: Bytes and sha256 in hex of a file; of a folder, of all in it, as its commit marker has them.
Digest = tuple[int, str]


class DamagedShardError(ValueError):
    """The data of a shard cannot be read on; the message says why, in a few words."""


@dataclass(slots=True)
class StoredSample:
    """One sample: its key, and its parts by extension: `jpg`, `txt`, `json`."""

    key: str
    parts: dict[str, bytes] = field(default_factory=dict)


class StoredShard(Protocol):
    """The data of one shard, its metadata table apart.

    Attributes:
        has_json, has_captions: whether each sample has its metadata as a part, and its caption
            where the data set has any; what is no part is in the table.
    """

    has_json: bool
    has_captions: bool

    @property
    def names(self) -> list[str]:
        """The files and folders that hold the samples, relative to the output folder."""
        ...

    def samples(self) -> Iterator[StoredSample]:
        """Every sample, in the order in which it lies there.

        Raises:
            DamagedShardError: it cannot be read on from here.
            OSError: a file cannot be read, or is missing.
        """
        ...

    def digests(self) -> Mapping[str, Digest]:
        """By name the digest of each file that `samples` has read to its end."""
        ...
