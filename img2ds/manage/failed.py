"""The failed rows of a dataset that are to be retried, shard by shard.

Memory is that of a few shards' tables: the tables are read ahead on threads, and the keys
that earlier retries took stream past them, both in the order of keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from img2ds.core.failure import Status, UsageError
from img2ds.core.img2dataset import reason_of
from img2ds.core.naming import index_digits
from img2ds.downloader.retried_rows import KEY_COLUMN, REASON_COLUMN, rows_path
from img2ds.manage.read_ahead import read_ahead
from img2ds.manage.retried import RetryList
from img2ds.storage import OutputFolder
from img2ds.storage.parquet import open_parquet

#: Keys of a list that are read at once.
_BATCH = 65_536

Wants = Callable[[str], bool]


def failed_rows(
    folder: OutputFolder,
    shards: Sequence[tuple[int, str]],
    columns: Sequence[str],
    wants: Wants,
    lists: Iterable[RetryList],
    per_shard: int,
) -> Iterator[pa.Table]:
    """Yield the rows to be retried, shard by shard, in the order of their keys.

    Tables have `columns`, then the key of the row and the reason it failed for.

    Args:
        shards: number and name of each shard to look into, in order.
        wants: whether rows that failed for a reason are to be retried.
        lists: the earlier retries; what these took is left out, whatever became of it.
        per_shard: rows in a shard, for its keys.

    Raises:
        UsageError: a table cannot be read.
        OSError: a list cannot be read.
    """
    taken = [_Keys(folder, found) for found in lists]
    size = 10 ** index_digits(per_shard)

    def read(shard: tuple[int, str]) -> pa.Table | None:
        return _read_failed(folder, shard[1], columns, wants)

    for (number, _), table in read_ahead(folder, read, shards):
        end = (number + 1) * size
        gone = pa.concat_arrays([keys.below(end) for keys in taken]) if taken else None
        if table is None:
            continue
        if gone:
            keys = table.column(KEY_COLUMN).cast(pa.int64())
            table = table.filter(pc.invert(pc.is_in(keys, value_set=gone)))
        if table.num_rows:
            yield table


def _read_failed(
    folder: OutputFolder, shard: str, columns: Sequence[str], wants: Wants
) -> pa.Table | None:
    name = f"{shard}.parquet"
    try:
        with open_parquet(f"{folder.path}/{name}") as file:
            names = file.schema_arrow.names
            by_img2dataset = "reason" not in names
            column = "error_message" if by_img2dataset else "reason"
            own = file.read(columns=["key", "status", column], use_threads=False)
            reasons = _reasons(own.column(column), by_img2dataset, own.column("status"))
            wanted = [r for r in pc.unique(reasons).to_pylist() if r is not None and wants(r)]
            if not wanted:
                return None
            mask = pc.is_in(reasons, value_set=pa.array(wanted, pa.string()))
            missing = [column for column in columns if column not in names]
            if missing:
                raise UsageError(f"{folder.path}/{name} has no column {missing[0]!r}")
            table = file.read(columns=list(columns), use_threads=False).select(list(columns))
    except (OSError, pa.ArrowException, UsageError) as error:
        words = str(error).splitlines()[0]
        raise UsageError(
            f"{words}; img2ds verify --output_folder {folder.path} shows what is broken"
        ) from None
    table = table.append_column(KEY_COLUMN, own.column("key").cast(pa.string()))
    table = table.append_column(REASON_COLUMN, reasons).filter(mask)
    # img2dataset's rows stand as they ended.
    return table.sort_by(KEY_COLUMN) if by_img2dataset else table


def _reasons(
    column: pa.ChunkedArray, by_img2dataset: bool, status: pa.ChunkedArray
) -> pa.ChunkedArray:
    """The reason of each row, null for successes; of messages where nothing else tells."""
    if not by_img2dataset:
        return column.cast(pa.string())
    column = column.cast(pa.string())
    failed = pc.not_equal(status, Status.SUCCESS.value)
    column = pc.if_else(failed, pc.fill_null(column, ""), pa.scalar(None, pa.string()))
    messages = pc.unique(column).drop_null()
    meant = pa.array([reason_of(text) for text in messages.to_pylist()], pa.string())
    return pc.take(meant, pc.index_in(column, value_set=messages))


class _Keys:
    """The keys of a list, in order, from first to last."""

    def __init__(self, folder: OutputFolder, found: RetryList) -> None:
        self._batches = self._read(folder, found)
        self._held = pa.array([], pa.int64())

    @staticmethod
    def _read(folder: OutputFolder, found: RetryList) -> Iterator[pa.Array]:
        for name in found.files:
            with open_parquet(rows_path(folder, found.name, name)) as file:
                for batch in file.iter_batches(_BATCH, columns=[KEY_COLUMN], use_threads=False):
                    yield batch.column(0).cast(pa.int64())

    def below(self, end: int) -> pa.Array:
        """The keys that come next and are below `end`."""
        pieces = [self._held]
        while not len(pieces[-1]) or pieces[-1][-1].as_py() < end:
            batch = next(self._batches, None)
            if batch is None:
                break
            pieces.append(batch)
        keys = pa.concat_arrays(pieces)
        count = pc.sum(pc.less(keys, end)).as_py() or 0
        self._held = keys.slice(count)
        return keys.slice(0, count)
