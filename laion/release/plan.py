"""Which rows of a scored folder are released, and in which part each goes.

The plan is made before a part is: which pairs are repeated is known only when all were seen, and
the names of parts tell how many there are. It is one bit a scored pair, and one pass over their
URLs, captions and similarities.
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
from laion.data.embedding_folder import ScoredPart
from laion.release.unique import UniquePairs, pair_digests

#: Reasons for which a scored pair is not released.
LOW_SIMILARITY = "low_similarity"
NO_SIMILARITY = "no_similarity"
DUPLICATE = "duplicate"

#: Seconds between two lines of how far the plan is.
_TELL_INTERVAL = 10.0

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows of one scored part that go into one part of the release.

    Attributes:
        rows: rows of the scored part.
        kept: a bit for each of them, packed.
        dropped: how many of them are not released, by reason.
        moved: rows whose SAMPLE_ID is another pair's, and the ID they have instead.
    """

    part: ScoredPart
    rows: int
    kept: bytes
    dropped: Counter[str]
    moved: dict[int, int]

    def mask(self) -> Mask:
        """`kept` as one truth value a row."""
        bits = np.frombuffer(self.kept, np.uint8)
        return np.unpackbits(bits, count=self.rows).astype(np.bool_)


@dataclass(frozen=True, slots=True)
class ReleaseTask:
    """One part of the release; `number` of `total`."""

    shard_id: int
    number: int
    total: int
    pieces: tuple[Piece, ...]


@dataclass(slots=True)
class _Seen:
    """What the pass over a scored part found."""

    part: ScoredPart
    rows: int
    first_place: int
    dropped: Counter[str]


def above(table: pa.Table, threshold: float) -> tuple[Mask, Counter[str]]:
    """The rows at or above `threshold`, and how many are not, by reason."""
    similarity = table.column("similarity").cast(pa.float64())
    known = ~np.asarray(pc.is_null(similarity, nan_is_null=True))
    values = np.asarray(pc.fill_null(similarity, np.nan))
    kept = known & (values >= threshold)
    dropped: Counter[str] = Counter()
    unknown, below = int((~known).sum()), int((known & ~kept).sum())
    if unknown:
        dropped[NO_SIMILARITY] = unknown
    if below:
        dropped[LOW_SIMILARITY] = below
    return kept, dropped


def plan_release(
    parts: Sequence[ScoredPart],
    threshold: float,
    rows_per_part: int,
    scratch: str,
    tell: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> list[ReleaseTask]:
    """The parts of the release, numbered from 0.

    A part takes whole scored parts, one after the other, until it has `rows_per_part` rows.

    Args:
        scratch: an existing local folder; 24 bytes a pair above the threshold are written there.
        tell: is given a line now and then while a long pass goes on.

    Raises:
        UsageError: a part cannot be read, or the scratch folder is full.
    """
    try:
        seen, bits, moved = _look(parts, threshold, scratch, tell)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"the scored pairs cannot be looked through: {error}") from None
    pieces: list[list[Piece]] = [[]]
    gathered = 0
    places = sorted(moved)
    for entry in seen:
        start = entry.first_place // 8
        packed = bits[start : start + (entry.rows + 7) // 8]
        kept = int(np.unpackbits(packed).sum())
        repeated = entry.rows - entry.dropped.total() - kept
        if repeated:
            entry.dropped[DUPLICATE] = repeated
        low = np.searchsorted(places, entry.first_place)
        high = np.searchsorted(places, entry.first_place + entry.rows)
        own = {place - entry.first_place: moved[place] for place in places[low:high]}
        if gathered >= rows_per_part:
            pieces.append([])
            gathered = 0
        piece = Piece(entry.part, entry.rows, packed.tobytes(), entry.dropped, own)
        pieces[-1].append(piece)
        gathered += kept
    total = len(pieces)
    return [ReleaseTask(number, number, total, tuple(own)) for number, own in enumerate(pieces)]


def _look(
    parts: Sequence[ScoredPart], threshold: float, scratch: str, tell: Callable[[str], None]
) -> tuple[list[_Seen], npt.NDArray[np.uint8], dict[int, int]]:
    """What is in each part; a bit for each place, set where its pair is released; moved IDs.

    Each part's places start at a multiple of eight, so that it has bytes of its own.
    """
    counts = [part.rows() for part in parts]
    unique = UniquePairs(scratch, sum(counts))
    seen: list[_Seen] = []
    masks: list[npt.NDArray[np.uint8]] = []
    place = 0
    told = time.monotonic()
    try:
        for number, part in enumerate(parts):
            table = part.table(["url", "caption", "similarity"])
            kept, dropped = above(table, threshold)
            chosen = table.select(["url", "caption"]).filter(pa.array(kept))
            digests = pair_digests(*(column.to_pylist() for column in chosen.columns))
            unique.add(place + np.flatnonzero(kept).astype(np.uint64), digests)
            seen.append(_Seen(part, table.num_rows, place, dropped))
            masks.append(np.packbits(kept))
            place += 8 * len(masks[-1])
            if time.monotonic() - told > _TELL_INTERVAL:
                told = time.monotonic()
                tell(f"looking for repeated pairs: {number + 1} of {len(parts)} parts read")
        bits = np.concatenate(masks) if masks else np.empty(0, np.uint8)
        moved: dict[int, int] = {}
        for resolved in unique.resolve():
            repeated = resolved.repeated
            byte = (repeated >> np.uint64(3)).astype(np.int64)
            clear = ~(np.uint8(0x80) >> (repeated & np.uint64(7)).astype(np.uint8))
            np.bitwise_and.at(bits, byte, clear)
            moved.update(resolved.moved)
    finally:
        unique.close()
    return seen, bits, moved
