"""How `--max_memory` is divided while an index is built. Pure.

It is counted above what an idle process takes. Mapped files are not counted: their pages are the
system's, which takes them back when it needs them.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Shares of the limit. A step has one or two of them at the same time, and what faiss copies.
_BLOCK, _SAMPLE, _SEGMENT = 1 / 32, 1 / 3, 1 / 6
#: Bytes of a block: larger ones are not faster.
_MAX_BLOCK = 16 << 20
#: Rows of a segment, where memory allows: some minutes of work.
_SEGMENT_ROWS = 500_000
#: Each segment has a part of every list: many small parts are slow to merge.
_MOST_SEGMENTS = 64


@dataclass(frozen=True, slots=True)
class BuildMemory:
    """What fits into `limit` bytes, of vectors with `dimension` columns."""

    limit: int
    dimension: int

    @property
    def block_rows(self) -> int:
        """Rows converted to float32 at once."""
        return max(int(min(self.limit * _BLOCK, _MAX_BLOCK)) // (4 * self.dimension), 1)

    @property
    def sample_rows(self) -> int:
        """Rows to train centroids on."""
        return int(self.limit * _SAMPLE) // (4 * self.dimension)

    @property
    def copied_sample_rows(self) -> int:
        """Rows to train on where they are copied, as differences from centroids."""
        return self.sample_rows // 2

    def segment_rows(self, code: int, rows: int) -> int:
        """Rows of `rows` whose codes of `code` bytes are in memory at once.

        Lists of a segment grow to twice their size.
        """
        wanted = max(_SEGMENT_ROWS, -(-rows // _MOST_SEGMENTS))
        return max(min(int(self.limit * _SEGMENT) // (2 * code), wanted), 1)
