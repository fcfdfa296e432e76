"""The files in which rows go from the shards of an input to their buckets.

A batch of shards makes one file of records and one of signatures, in runs. The rows of a run are
in the order of their buckets, the preferred ones first: a range of buckets is a piece of each run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from img2ds.core.naming import shard_name
from img2ds.engine.shard_output import DIGITS, ShardOutput
from img2ds.storage import open_seekable
from laion.dedup_images.comparison import Rows, Signatures

#: Bytes of a run: 62,000 rows of 512 float16 numbers.
RUN_BYTES = 64 << 20
#: Pieces that the buckets are divided into, for the tasks that compare them.
PIECES = 1024
#: The lower bits of a place are a row's place in its batch, the upper ones the batch.
BATCH_SHIFT = np.uint64(40)
ROW_MASK = np.uint64((1 << 40) - 1)

Records = npt.NDArray[Any]


def record_type(key_bytes: int) -> np.dtype[Any]:
    """Return the type of a record: lower ranks are preferred."""
    return np.dtype(
        [("bucket", "<u4"), ("place", "<u8"), ("rank", "<f8"), ("key", f"S{key_bytes}")]
    )


def piece_borders(buckets: int) -> npt.NDArray[np.int64]:
    """Return the first bucket of each piece, and the number of buckets."""
    return np.arange(PIECES + 1, dtype=np.int64) * buckets // PIECES


class RunWriter:
    """Writes the runs of one batch."""

    def __init__(self, shard: ShardOutput, buckets: int) -> None:
        self._shard = shard
        self._borders = piece_borders(buckets)
        self._records: list[Records] = []
        self._signatures: list[Signatures] = []
        self._held = 0
        self._written = 0
        self._runs: list[npt.NDArray[np.int64]] = []
        self._files = [self._create(kind) for kind in ("records", "signatures")]

    def _create(self, kind: str) -> IO[bytes]:
        return open(self._shard.path(part_name(self._shard.number, kind)), "wb")

    def add(self, records: Records, signatures: Signatures) -> None:
        """Append rows. Raises OSError."""
        self._records.append(records)
        self._signatures.append(signatures)
        self._held += records.nbytes + signatures.nbytes
        if self._held >= RUN_BYTES:
            self._write()

    def _write(self) -> None:
        records = np.concatenate(self._records)
        order = np.lexsort((records["place"], records["rank"], records["bucket"]))
        records = records[order]
        signatures = np.concatenate(self._signatures)[order]
        self._records, self._signatures, self._held = [], [], 0
        for file, rows in zip(self._files, (records, signatures), strict=True):
            file.write(rows.view(np.uint8).data)
        borders = np.searchsorted(records["bucket"], self._borders)
        self._runs.append(self._written + borders.astype(np.int64))
        self._written += len(records)

    def close(self) -> None:
        """Write what is held, and where the pieces of each run are. Raises OSError."""
        if self._held:
            self._write()
        for file in self._files:
            file.close()
        runs = np.array(self._runs, np.int64).reshape(-1, PIECES + 1)
        np.save(self._shard.path(part_name(self._shard.number, "runs.npy")), runs)


@dataclass(slots=True)
class _Piece:
    """The rows of one run that are in the range: those from `start` on, read one after another."""

    file: IO[bytes]
    start: int


class BucketReader:
    """The rows of a range of pieces, from all batches.

    Args:
        folder: where the batches are.
        batches: their numbers.
        pieces: the first piece of the range, and the one after the last.

    Raises:
        OSError: a file cannot be read.
    """

    def __init__(
        self,
        folder: str,
        batches: Sequence[int],
        pieces: tuple[int, int],
        dtypes: Sequence[np.dtype[Any]],
    ) -> None:
        self._types = dtypes
        first, last = pieces
        self._stack = ExitStack()
        self._pieces: list[_Piece] = []
        found: list[Records] = []
        for batch in batches:
            runs = load_part(folder, batch, "runs.npy")
            spans = [(int(run[first]), int(run[last])) for run in runs]
            spans = [(start, end) for start, end in spans if start < end]
            if not spans:
                continue
            with open_part(folder, batch, "records") as records:
                found += [read_rows(records, dtypes[0], start, end - start) for start, end in spans]
            signatures = self._stack.enter_context(open_part(folder, batch, "signatures"))
            self._pieces += [_Piece(signatures, start) for start, _ in spans]
        self._records = np.concatenate([np.empty(0, dtypes[0]), *found])
        self._piece = np.repeat(np.arange(len(found)), [len(part) for part in found])

    def blocks(self, size: int) -> Iterator[tuple[Records, Signatures]]:
        """Yield all rows bucket by bucket, the preferred ones first, at most `size` at once."""
        records = self._records
        order = np.lexsort((records["place"], records["rank"], records["bucket"]))
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            pieces = self._piece[chosen]
            by_piece = np.argsort(pieces, kind="stable")
            signatures = self._next(np.bincount(pieces, minlength=len(self._pieces)))
            places = np.empty_like(by_piece)
            places[by_piece] = np.arange(len(chosen))
            yield records[chosen], signatures[places]

    def _next(self, counts: Rows) -> Signatures:
        """Read the next rows of each piece: both orders are the same in a piece."""
        dtype = self._types[1]
        rows = np.empty(int(counts.sum()), dtype)
        place = 0
        for number in np.flatnonzero(counts):
            piece, count = self._pieces[number], int(counts[number])
            _read_into(piece.file, rows[place : place + count], piece.start)
            piece.start += count
            place += count
        return rows

    def __enter__(self) -> BucketReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def read_rows(file: IO[bytes], dtype: np.dtype[Any], start: int, count: int) -> npt.NDArray[Any]:
    """Return rows of a file of them. Raises OSError."""
    rows = np.empty(count, dtype)
    _read_into(file, rows, start)
    return rows


def _read_into(file: IO[bytes], rows: npt.NDArray[Any], start: int) -> None:
    """Fill `rows` with those of a file from `start` on. Raises OSError."""
    file.seek(start * (rows.nbytes // len(rows)))
    room = memoryview(rows.view(np.uint8).data).cast("B")
    while len(room):
        count = cast(Any, file).readinto(room)
        if not count:
            raise OSError(f"{getattr(file, 'name', 'a file of rows')} is truncated")
        room = room[count:]


def part_name(number: int, kind: str) -> str:
    """Return the name of a file of the shard `number` of a pass."""
    return f"{shard_name(number, DIGITS)}.{kind}"


def open_part(folder: str, number: int, kind: str) -> IO[bytes]:
    """Open a file of a pass. Raises OSError."""
    path = f"{folder}/{part_name(number, kind)}"
    found = open_seekable(path) if "://" in path else path
    return open(found, "rb") if isinstance(found, str) else found


def load_part(folder: str, number: int, kind: str) -> npt.NDArray[Any]:
    """Return the array in a file of a pass. Raises OSError."""
    with open_part(folder, number, kind) as file:
        array: npt.NDArray[Any] = np.load(file)
    return array
