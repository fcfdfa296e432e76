"""The contract of an approximate nearest neighbor (ANN) index; `index_kinds` lists its libraries.

An index holds unit vectors, numbers them from 0 in the order they were added, and compares them by
inner product. A loaded index is memory-mapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


class AnnIndex(Protocol):
    """One index of one library."""

    #: Whether it was loaded to be searched from the disk.
    on_disk: bool

    @classmethod
    def require(cls) -> None:
        """Raise UsageError when the library is not installed."""
        ...

    @classmethod
    def create(cls, factory: str, dimension: int) -> AnnIndex:
        """Create an empty index. Raises UsageError when the library rejects the description."""
        ...

    @classmethod
    def load(cls, path: str, on_disk: bool = False) -> AnnIndex:
        """Memory-map the index stored at `path`.

        Args:
            on_disk: whether it is searched from the disk, larger than memory.

        Raises:
            UsageError: the file is damaged.
            OSError: too many files are open.
        """
        ...

    @classmethod
    def resume(cls, path: str) -> AnnIndex:
        """Read the index stored at `path` into memory, so that rows can be added."""
        ...

    def store(self, path: str) -> None:
        """Write the index to `path`. Raises OSError."""
        ...

    def __len__(self) -> int: ...

    @property
    def is_trained(self) -> bool: ...

    @property
    def effort_name(self) -> str | None:
        """The library's name of the setting that trades recall for time; None if there is none."""
        ...

    @property
    def max_effort(self) -> int:
        """The effort above which recall no longer grows."""
        ...

    @property
    def is_exact(self) -> bool:
        """Whether similarities are computed from the vectors, not from compressed codes."""
        ...

    @property
    def is_mergeable(self) -> bool:
        """Whether copies filled separately can be merged."""
        ...

    def train(self, vectors: Vectors) -> None:
        """Train on a sample. Raises UsageError when there are too few rows for this kind."""
        ...

    def add(self, vectors: Vectors, ids: Ids | None = None) -> None:
        """Append rows; `ids` numbers them in an index that is merged later."""
        ...

    def reserve(self, rows: int) -> None:
        """Allocate memory for `rows` in all, so that adding them does not copy old rows."""
        ...

    def store_merged(self, path: str, segments: Sequence[str]) -> None:
        """Write an index with the rows of stored ones, which began as copies of this empty one.

        Takes little memory where the lists are stored one after the other. Raises OSError.
        """
        ...

    @property
    def code_size(self) -> int:
        """Bytes of a stored row, with its number."""
        ...

    def search(self, vectors: Vectors, k: int, effort: int | None = None) -> tuple[Vectors, Ids]:
        """Find the `k` nearest rows of each vector.

        Args:
            effort: see `effort_name`; the library's default when None.

        Returns:
            Similarities and rows, each [len(vectors), k], best first; row -1 where there are fewer.
        """
        ...

    def set_threads(self, count: int) -> None:
        """Set how many threads the library uses for calls of this thread."""
        ...
