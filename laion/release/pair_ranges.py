"""Finds repeated pairs in two passes of tasks: batches of shards, then ranges of digests.

A task of the first pass reads the pairs of some shards and leaves their digests in order, 24 bytes
a pair, in the scratch folder. A task of the second takes one range of digests out of all these
files, so that equal pairs meet. Both can run in any process that sees the folder.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from img2ds.core.naming import shard_name
from img2ds.core.pair_digest import pair_digests
from img2ds.engine.shard_output import DIGITS, ShardOutput
from laion.data.embedding_folder import EmbeddingShard
from laion.release.contents import similarity_histogram
from laion.release.unique import RECORD, Records, resolve

#: Reasons for which a pair is not released.
LOW_SIMILARITY = "low_similarity"
NO_SIMILARITY = "no_similarity"
NO_URL = "no_url"
DUPLICATE = "duplicate"
OTHER_TEXT = "other_text"

#: The lower bits of a place are a row's place in its batch, the upper ones the batch.
BATCH_SHIFT = np.uint64(40)
PLACE_MASK = np.uint64((1 << 40) - 1)

Mask = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint8]
Places = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class ScanTask:
    """Consecutive shards, batch `shard_id` of them.

    `best_text` keeps one pair an image, that with the highest similarity.
    """

    shard_id: int
    shards: tuple[EmbeddingShard, ...]
    threshold: float
    best_text: bool = False


@dataclass(frozen=True, slots=True)
class RangeTask:
    """The digests that start with the bits `shard_id`, of all batches in `folder`."""

    shard_id: int
    bits: int
    folder: str
    batches: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What the first pass found in the shards of a batch.

    Attributes:
        bits: one for each row, set if it passes the threshold; a shard starts with a new byte.
        rows, dropped: of each shard.
        histograms: all rows of each shard by similarity, see `similarity_histogram`.
    """

    bits: Bits
    rows: list[int]
    dropped: list[Counter[str]]
    histograms: list[npt.NDArray[np.int64]]


def scan(task: ScanTask, shard: ShardOutput) -> None:
    """Read the pairs of a batch."""
    masks: list[Bits] = []
    found: list[Records] = []
    rows, dropped, histograms, place = [], [], [], 0
    for source in task.shards:
        key = ["key"] if task.best_text else []
        table = source.table(["url", "caption", "similarity", *key])
        kept, reasons = above(table, task.threshold)
        kept = _with_url(table, kept, reasons)
        if task.best_text:
            kept = with_best_text(table, kept, reasons)
        chosen = table.select(["url", "caption"]).filter(pa.array(kept))
        digests = pair_digests(*(column.to_pylist() for column in chosen.columns))
        records = np.empty(len(digests), RECORD)
        records["high"], records["low"] = digests[:, 0], digests[:, 1]
        records["place"] = place + np.flatnonzero(kept).astype(np.uint64)
        found.append(records)
        masks.append(np.packbits(kept))
        rows.append(table.num_rows)
        dropped.append(reasons)
        histograms.append(_histogram(table).tolist())
        place += 8 * len(masks[-1])
        shard.counts.successes += len(records)
        for reason, times in reasons.items():
            shard.counts.drop(reason, times)
        shard.report_progress()
    records = np.concatenate(found)
    records["place"] |= np.uint64(task.shard_id) << BATCH_SHIFT
    records = records[np.argsort(records["high"], kind="stable")]
    # By columns, so that a range is found by looking at few pages of the file.
    columns = np.stack([records[name] for name in ("high", "low", "place")])
    np.save(_open(shard, "pairs"), columns)
    np.save(_open(shard, "bits"), np.concatenate(masks))
    with open(shard.path(_file(task.shard_id, "json")), "wb") as file:
        file.write(orjson.dumps({"rows": rows, "dropped": dropped, "histograms": histograms}))


def resolve_range(task: RangeTask, shard: ShardOutput) -> None:
    """Find the repeated pairs of a range, and the SAMPLE_IDs that have to move."""
    pieces = [np.empty(0, RECORD)]
    for batch in range(task.batches):
        path = f"{task.folder}/{_file(batch, 'pairs.npy')}"
        high, low, place = np.load(path, mmap_mode="r")
        first, last = _borders(high, task.shard_id, task.bits)
        piece = np.empty(last - first, RECORD)
        for name, column in (("high", high), ("low", low), ("place", place)):
            piece[name] = column[first:last]
        pieces.append(piece)
    records = np.concatenate(pieces)
    repeated, moved = np.empty(0, np.uint64), np.empty((0, 2), np.uint64)
    if len(records):
        # An ID begins with the bits of its range, so ranges do not share IDs.
        width = 63 - task.bits
        found = resolve(records, ((task.shard_id + 1) << width) - 1)
        repeated = found.repeated
        moved = np.array([*found.moved.items()], np.uint64).reshape(-1, 2)
    shard.counts.successes += len(records) - len(repeated)
    shard.counts.drop(DUPLICATE, len(repeated))
    np.save(_open(shard, "repeated"), repeated)
    np.save(_open(shard, "moved"), moved)


def read_batch(folder: str, number: int) -> Batch:
    """Return what `scan` found. Raises OSError."""
    with open(f"{folder}/{_file(number, 'json')}", "rb") as file:
        document = orjson.loads(file.read())
    dropped = [Counter(reasons) for reasons in document["dropped"]]
    histograms = [np.array(counts, np.int64) for counts in document["histograms"]]
    bits = np.load(f"{folder}/{_file(number, 'bits.npy')}")
    return Batch(bits, document["rows"], dropped, histograms)


def read_range(folder: str, number: int) -> tuple[Places, dict[int, int]]:
    """Return the places of repeated pairs, and SAMPLE_IDs by place. Raises OSError."""
    repeated = np.load(f"{folder}/{_file(number, 'repeated.npy')}")
    moved = np.load(f"{folder}/{_file(number, 'moved.npy')}")
    return repeated, dict(moved.tolist())


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


def with_best_text(table: pa.Table, kept: Mask, dropped: Counter[str]) -> Mask:
    """Return `kept` with one pair of each image, the most similar one; the first of equals.

    All pairs of an image have its key. The others are counted.
    """
    places = np.flatnonzero(kept)
    keys = table.column("key").cast(pa.string()).combine_chunks()
    codes = np.asarray(keys.dictionary_encode().indices.fill_null(-1))[places]
    similarity = np.asarray(table.column("similarity").cast(pa.float64()))[places]
    order = np.lexsort((places, -similarity, codes))
    first = np.ones(len(order), np.bool_)
    first[1:] = codes[order][1:] != codes[order][:-1]
    best: Mask = np.zeros(len(kept), np.bool_)
    best[places[order[first]]] = True
    if others := int((~first).sum()):
        dropped[OTHER_TEXT] = others
    return best


def _borders(high: Places, number: int, bits: int) -> tuple[int, int]:
    """Return where the digests that start with the bits `number` begin and end."""
    ends = []
    for border in (number, number + 1):
        if border >> bits:
            ends.append(len(high))
        else:
            ends.append(int(np.searchsorted(high, np.uint64(border << (64 - bits)))))
    return ends[0], ends[1]


def _file(number: int, kind: str) -> str:
    return f"{shard_name(number, DIGITS)}.{kind}"


def _open(shard: ShardOutput, kind: str) -> str:
    return shard.path(_file(shard.number, f"{kind}.npy"))
