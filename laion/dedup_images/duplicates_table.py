"""The table of what each dropped row duplicates: `duplicates/duplicates_N.parquet`."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from laion.dedup_images.links import Links, LinkSource
from laion.dedup_images.scattered import BATCH_SHIFT, ROW_MASK, load_part

FOLDER = "duplicates"
DUPLICATES = "duplicates/duplicates_{}.parquet"


def duplicates_table(
    table: pa.Table,
    rows: npt.NDArray[np.intp],
    links: Links,
    source: LinkSource,
    where: tuple[str, int],
) -> pa.Table:
    """Return a row for each dropped row.

    Args:
        table: the metadata of the shard.
        rows: the dropped ones.
        source: where the links are from.
        where: the folder that tells where rows are, and the shards of a batch.
    """
    near = links["closeness"]
    dropped = table.take(pa.array(rows))
    columns = {name: dropped[name] for name in ("key", "url") if name in table.column_names}
    own = links["leader"] >> BATCH_SHIFT < source.batches
    shards, places = np.zeros((2, len(links)), np.int64)
    shards[own], places[own] = _shards_of(links["leader"][own], *where)
    keys = [key.decode("utf-8", "replace") or None for key in links["key"].tolist()]
    return pa.table(
        {
            "row": pa.array(rows, pa.int64()),
            **columns,
            "reason": pa.array(source.reasons_of(links), pa.string()),
            # The closeness of hashes is their distance, with a minus.
            "similarity": pa.array(np.where(near > 0, near, np.nan), pa.float32(), mask=near <= 0),
            "distance": pa.array(-near.astype(np.int64), pa.int16(), mask=near > 0),
            "duplicate_of": pa.array(keys, pa.string()),
            "duplicate_shard": pa.array(shards, pa.int32(), mask=~own),
            "duplicate_row": pa.array(places, pa.int64(), mask=~own),
            "evaluation": pa.array(source.evaluation_of(links), pa.string()),
        }
    )


def _shards_of(
    leaders: npt.NDArray[np.uint64], scattered: str, batch_shards: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the shard of each leader, counted from 0, and its row in it."""
    batches = (leaders >> BATCH_SHIFT).astype(np.int64)
    rows = (leaders & ROW_MASK).astype(np.int64)
    shards = np.empty(len(leaders), np.int64)
    for batch in np.unique(batches).tolist():
        own = batches == batch
        starts = _starts(scattered, batch)
        # An empty shard starts where the next one does.
        position = np.searchsorted(starts, rows[own], side="right") - 1
        shards[own] = batch * batch_shards + position
        rows[own] -= starts[position]
    return shards, rows


@lru_cache(maxsize=512)
def _starts(scattered: str, batch: int) -> npt.NDArray[np.int64]:
    rows = load_part(scattered, batch, "shards.npy")
    return np.concatenate([[0], np.cumsum(rows)[:-1]])
