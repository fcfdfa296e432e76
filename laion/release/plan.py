"""Plans a release: which rows of an embedding folder it holds, and in which part each goes.

The whole plan comes before the first part: only a pass over all pairs finds the repeated ones, and
the names of parts contain their number. URLs, captions and similarities are read once; then this
process keeps one bit a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError
from img2ds.engine.build import BuildSpec, open_build
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import ShardOutput
from img2ds.report.console import Labels, Verbosity
from img2ds.report.shard_report import ShardReport
from img2ds.storage import OutputFolder
from laion.data.embedding_folder import EmbeddingShard
from laion.release.pair_ranges import (
    BATCH_SHIFT,
    DUPLICATE,
    PLACE_MASK,
    Bits,
    Mask,
    Places,
    RangeTask,
    ScanTask,
    read_batch,
    read_range,
    resolve_range,
    scan,
)
from laion.release.unique import partition_count
from laion.stage import StageReport

#: Most shards that are read by one task: their digests are in memory at once, 24 bytes a pair.
BATCH_SHARDS = 100
#: Bytes of metadata below which the plan is made in this process: starting others takes longer.
SMALL = 200_000_000


class PlanStoppedError(Exception):
    """The plan was stopped before it was complete; `report` says why."""

    def __init__(self, report: StageReport) -> None:
        super().__init__("the plan was stopped")
        self.report = report


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


def plan_release(
    shards: Sequence[EmbeddingShard],
    threshold: float,
    rows_per_part: int,
    scratch: str,
    processes: int = 1,
    best_text: bool = False,
) -> list[ReleaseTask]:
    """Return the parts of the release, numbered from 0.

    A part takes whole shards, one after the other, until it has `rows_per_part` rows.

    Args:
        scratch: an existing local folder; the plan writes 24 bytes a pair above the threshold.
        processes: worker processes on this machine, if the input is not small.
        best_text: keep one pair an image, see `ScanTask`.

    Raises:
        UsageError: a shard cannot be read, or the scratch folder is full.
        PlanStoppedError: the user has stopped it.
    """
    try:
        scans, bits, moved = _scan(shards, (threshold, best_text), scratch, processes)
    except OSError as error:
        raise UsageError(f"cannot read the input to find repeated pairs: {error}") from None
    parts: list[list[Piece]] = [[]]
    rows = 0
    moved_places = sorted(moved)
    for found in scans:
        piece = found.piece(bits, moved, moved_places)
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
    shards: Sequence[EmbeddingShard], rule: tuple[float, bool], scratch: str, processes: int
) -> tuple[list[_Scan], Bits, dict[int, int]]:
    """Return what each shard holds, a bit a place that is set for released rows, and moved IDs.

    The places of a shard start at a multiple of eight, so that no two shards share a byte.
    """
    folder = OutputFolder.open(scratch)
    if sum(shard.size or 0 for shard in shards) < SMALL:
        processes = 1
    size = max(1, min(BATCH_SHARDS, len(shards) // (4 * processes)))
    starts = range(0, len(shards), size)
    _run(
        folder, scan, processes, "batch", "batches",
        [ScanTask(n, tuple(shards[s : s + size]), *rule) for n, s in enumerate(starts)],
    )  # fmt: skip
    scans: list[_Scan] = []
    masks: list[Bits] = []
    bases = [0]
    for number, start in enumerate(starts):
        batch = read_batch(scratch, number)
        place = bases[-1]
        found = zip(batch.rows, batch.dropped, batch.histograms, strict=True)
        for shard, (rows, dropped, histogram) in zip(shards[start:], found, strict=False):
            scans.append(_Scan(shard, rows, place, dropped, histogram))
            place += (rows + 7) // 8 * 8
        masks.append(batch.bits)
        bases.append(place)
    bits = np.concatenate(masks) if masks else np.empty(0, np.uint8)
    count = partition_count(sum(found.rows for found in scans))
    width = count.bit_length() - 1
    ranges = [RangeTask(n, width, scratch, len(starts)) for n in range(count)]
    within = folder.path + "/ranges"
    _run(OutputFolder.open(within), resolve_range, processes, "range", "ranges", ranges)
    moved: dict[int, int] = {}
    offsets = np.array(bases, np.uint64)
    for number in range(count):
        repeated, own = read_range(within, number)
        _clear(bits, _flat(repeated, offsets))
        places = _flat(np.fromiter(own, np.uint64, len(own)), offsets)
        moved.update(zip(places.tolist(), own.values(), strict=True))
    return scans, bits, moved


def _run(
    folder: OutputFolder,
    make: Callable[[Any, ShardOutput], None],
    processes: int,
    noun: str,
    nouns: str,
    tasks: Sequence[ScanTask] | Sequence[RangeTask],
) -> None:
    """Run tasks on this machine. Raises UsageError if one fails, PlanStoppedError."""
    if processes == 1:
        reports: list[ShardReport[Any]] = []

        def add(report: Any) -> None:
            if isinstance(report, ShardReport):
                reports.append(report)

        SequentialWorker(folder, make)(iter(tasks), add)
        failed = [report.error for report in reports if report.error is not None]
    else:
        labels = Labels(noun, "pairs", "pairs/s", "kept")
        report = StageReport(labels=labels, stage="finding repeated pairs")
        spec = BuildSpec(
            output_folder=folder.path, lock=False, processes_count=processes,
            verbosity=Verbosity(shards=False, logger="laion"),
        )  # fmt: skip
        with open_build(spec, report) as build:
            build.console.note(f"finding repeated pairs: {len(tasks):,} {nouns}", dated=True)
            build.run(SequentialWorker(build.folder, make), tasks)
        failed = [*report.failed.values()]
        if report.interrupted:
            raise PlanStoppedError(report)
        if not failed and report.stopped is not None:
            failed = [report.stopped]
    if failed:
        raise UsageError(f"cannot read the input to find repeated pairs: {failed[0]}")


def _flat(places: Places, bases: Places) -> Places:
    """Return places counted over all batches."""
    flat: Places = bases[places >> BATCH_SHIFT] + (places & PLACE_MASK)
    return flat


def _clear(bits: Bits, places: Places) -> None:
    """Clear the bits at `places`, the highest bit of a byte being the first."""
    byte = (places >> np.uint64(3)).astype(np.int64)
    np.bitwise_and.at(bits, byte, ~(np.uint8(0x80) >> (places & np.uint64(7)).astype(np.uint8)))
