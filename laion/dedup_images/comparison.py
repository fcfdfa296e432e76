"""What decides whether two images are near-duplicates: the contract of its implementations.

Rows that may be duplicates of each other share a bucket; only rows of one bucket are compared.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from laion.data.embedding_folder import EmbeddingShard

#: What is compared, one row an image: embeddings or hashes.
Signatures = npt.NDArray[Any]
Rows = npt.NDArray[np.intp]


class Found(NamedTuple):
    """What the rows of a block duplicate.

    Attributes:
        leader: the number of the most similar kept row, counted over all rows that were added;
            -1 for rows that are kept themselves.
        closeness: how similar it is, higher for more similar.
    """

    leader: npt.NDArray[np.int64]
    closeness: npt.NDArray[np.float32]


class LeaderSet(Protocol):
    """The kept rows of a bucket."""

    def add(self, block: Signatures) -> Found:
        """Compare rows, the preferred ones first, with the kept ones; keep those without a match.

        The result does not depend on how rows are cut into blocks.
        """
        ...

    def keep(self, block: Signatures) -> None:
        """Keep rows, whatever they are like."""
        ...

    def match(self, block: Signatures) -> Found:
        """Compare rows with the kept ones, and keep none of them."""
        ...


class Comparison(Protocol):
    """A way to compare images. Picklable: it is sent to the workers.

    Attributes:
        reason: what a row that is not kept is counted as.
        buckets: how many there are.
        visits: most buckets that a row is in.
        small: rows of a bucket up to which it is compared with others in one step; 0 for none.
        dtype: of one row's signature.
    """

    @property
    def reason(self) -> str: ...

    @property
    def buckets(self) -> int: ...

    @property
    def visits(self) -> int: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def small(self) -> int: ...

    def signatures(self, shard: EmbeddingShard, table: pa.Table) -> Signatures:
        """Return the signatures of all rows of a shard. Raises OSError, UsageError.

        Args:
            table: its metadata, with the column `key` if there is one.
        """
        ...

    def place(self, block: Signatures) -> tuple[Rows, Rows]:
        """Return the rows of a block, and the bucket of each.

        A row is there once for each of its buckets, and not at all if it cannot be compared.
        """
        ...

    def prepare(self, signatures: Signatures) -> Signatures:
        """Return signatures as `leaders` and `small_buckets` take them."""
        ...

    def leaders(self) -> LeaderSet:
        """Return the kept rows of a new bucket: none."""
        ...

    def small_buckets(self, signatures: Signatures, buckets: Rows) -> Found:
        """Return what the rows of whole buckets duplicate, of which each has at most `small` rows.

        The leader of a row may be a duplicate itself.
        """
        ...
