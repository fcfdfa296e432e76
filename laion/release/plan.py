"""Plans a release: which rows of an embedding folder it holds, and in which part each goes.

The whole plan comes before the first part: only a pass over all pairs finds the repeated ones, and
the names of parts contain their number. It reads URLs, captions and similarities once and keeps
one bit a row.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from img2ds.core.failure import UsageError
from laion.data.digest import pair_digests
from laion.data.embedding_folder import EmbeddingShard
from laion.release.contents import similarity_histogram
from laion.release.unique import UniquePairs

#: Reasons for which a pair is not released.
LOW_SIMILARITY = "low_similarity"
NO_SIMILARITY = "no_similarity"
NO_URL = "no_url"
DUPLICATE = "duplicate"

#: Seconds between two progress lines.
_PROGRESS_INTERVAL = 10.0

Mask = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows of one shard that go into one part of the release.

    Attributes:
        rows: rows of the shard.
        kept: one bit for each of them, packed.
        dropped: rows that are not released, by reason.
        histogram: all rows by similarity, see `similarity_histogram`.
        moved: SAMPLE_IDs by row, where another pair has the ID that the digest gives.
    """

    shard: EmbeddingShard
    rows: int
    kept: bytes
    dropped: Counter[str]
    histogram: npt.NDArray[np.int64]
    moved: dict[int, int]

    def mask(self) -> Mask:
        """Return `kept` as booleans [rows]."""
        bits = np.frombuffer(self.kept, np.uint8)
        return np.unpackbits(bits, count=self.rows).astype(np.bool_)


@dataclass(frozen=True, slots=True)
class ReleaseTask:
    """Part `number` of `total` of the release."""

    shard_id: int
    number: int
    total: int
    pieces: tuple[Piece, ...]


@dataclass(slots=True)
class _Scan:
    """What the pass over one shard found; its rows have the places from `first_place` on."""

    shard: EmbeddingShard
    rows: int
    first_place: int
    dropped: Counter[str]
    histogram: npt.NDArray[np.int64]

    def piece(self, bits: Bits, moved: dict[int, int], moved_places: list[int]) -> Piece:
        """Return the rows to release, given all repeated pairs and moved IDs."""
        start = self.first_place // 8
        packed = bits[start : start + (self.rows + 7) // 8]
        duplicates = self.rows - self.dropped.total() - int(np.unpackbits(packed).sum())
        if duplicates:
            self.dropped[DUPLICATE] = duplicates
        low, high = np.searchsorted(
            moved_places, (self.first_place, self.first_place + self.rows)
        ).tolist()
        own = {place - self.first_place: moved[place] for place in moved_places[low:high]}
        return Piece(self.shard, self.rows, packed.tobytes(), self.dropped, self.histogram, own)


def above(table: pa.Table, threshold: float) -> tuple[Mask, Counter[str]]:
    """Return the mask of rows at or above `threshold`, and the number of the others by reason."""
    similarity = table.column("similarity").cast(pa.float64())
    known = ~np.asarray(pc.is_null(similarity, nan_is_null=True))
    values = np.asarray(pc.fill_null(similarity, np.nan))
    kept = known & (values >= threshold)
    dropped = {
        NO_SIMILARITY: int((~known).sum()),
        LOW_SIMILARITY: int((known & ~kept).sum()),
    }
    return kept, Counter({reason: count for reason, count in dropped.items() if count})


def _histogram(table: pa.Table) -> npt.NDArray[np.int64]:
    column = table.column("similarity").cast(pa.float64())
    values = np.asarray(pc.fill_null(column, np.nan))
    return similarity_histogram(values[~np.isnan(values)])


def _with_url(table: pa.Table, kept: Mask, dropped: Counter[str]) -> Mask:
    """Return `kept` without rows that have no URL, which are counted."""
    urls = pc.fill_null(table.column("url").cast(pa.string()), "")
    known = np.asarray(pc.not_equal(urls, ""))
    if missing := int((kept & ~known).sum()):
        dropped[NO_URL] = missing
    with_url: Mask = kept & known
    return with_url


def plan_release(
    shards: Sequence[EmbeddingShard],
    threshold: float,
    rows_per_part: int,
    scratch: str,
    report_progress: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> list[ReleaseTask]:
    """Return the parts of the release, numbered from 0.

    A part takes whole shards, one after the other, until it has `rows_per_part` rows.

    Args:
        scratch: an existing local folder; the plan writes 24 bytes a pair above the threshold.
        report_progress: receives a line of text from time to time.

    Raises:
        UsageError: a shard cannot be read, or the scratch folder is full.
    """
    try:
        scans, bits, moved = _scan(shards, threshold, scratch, report_progress)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read the input to find repeated pairs: {error}") from None
    parts: list[list[Piece]] = [[]]
    rows = 0
    moved_places = sorted(moved)
    for scan in scans:
        piece = scan.piece(bits, moved, moved_places)
        if rows >= rows_per_part:
            parts.append([])
            rows = 0
        parts[-1].append(piece)
        rows += piece.rows - piece.dropped.total()
    return [
        ReleaseTask(number, number, len(parts), tuple(pieces))
        for number, pieces in enumerate(parts)
    ]


def _scan(
    shards: Sequence[EmbeddingShard],
    threshold: float,
    scratch: str,
    report_progress: Callable[[str], None],
) -> tuple[list[_Scan], Bits, dict[int, int]]:
    """Return what each shard holds, a bit a place that is set for released rows, and moved IDs.

    The places of a shard start at a multiple of eight, so that no two shards share a byte.
    """
    unique = UniquePairs(scratch, sum(shard.rows() for shard in shards))
    scans: list[_Scan] = []
    masks: list[Bits] = []
    place = 0
    last_report = time.monotonic()
    try:
        for number, shard in enumerate(shards):
            table = shard.table(["url", "caption", "similarity"])
            kept, dropped = above(table, threshold)
            kept = _with_url(table, kept, dropped)
            chosen = table.select(["url", "caption"]).filter(pa.array(kept))
            digests = pair_digests(*(column.to_pylist() for column in chosen.columns))
            unique.add(place + np.flatnonzero(kept).astype(np.uint64), digests)
            scans.append(_Scan(shard, table.num_rows, place, dropped, _histogram(table)))
            masks.append(np.packbits(kept))
            place += 8 * len(masks[-1])
            if time.monotonic() - last_report > _PROGRESS_INTERVAL:
                last_report = time.monotonic()
                report_progress(f"finding repeated pairs: {number + 1} of {len(shards)} shards")
        bits = np.concatenate(masks) if masks else np.empty(0, np.uint8)
        moved: dict[int, int] = {}
        for resolved in unique.resolve():
            _clear(bits, resolved.repeated)
            moved.update(resolved.moved)
    finally:
        unique.close()
    return scans, bits, moved


def _clear(bits: Bits, places: npt.NDArray[np.uint64]) -> None:
    """Clear the bits at `places`, the highest bit of a byte being the first."""
    byte = (places >> np.uint64(3)).astype(np.int64)
    np.bitwise_and.at(bits, byte, ~(np.uint8(0x80) >> (places & np.uint64(7)).astype(np.uint8)))
