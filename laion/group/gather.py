"""The second pass of `laion group`: the rows of one URL become one row. Pure."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from laion.data.candidate import GROUPED_SCHEMA, TEXT_LISTS
from laion.data.digest import digest_words
from laion.dedup.deduplicator import first_occurrences

#: Why a row of the input is no row of the output: its text is one of another row's, is there
#: already, or is one too many.
SAME_URL, DUPLICATE, TOO_MANY = "same_url", "duplicate", "too_many_texts"


def gather(table: pa.Table, most: int | None) -> tuple[pa.Table, Counter[str]]:
    """Return one row a URL, in the order of their first rows, and what became of the others.

    Args:
        table: candidates; all rows of a URL are in it.
        most: texts that are kept of a URL; None for all.
    """
    new = first_occurrences(*digest_words(table["digest"]))
    reasons = Counter({DUPLICATE: int((~new).sum())})
    if not table.num_rows:
        return GROUPED_SCHEMA.empty_table(), +reasons
    table = table.filter(pa.array(new)).combine_chunks()
    codes = _array(table["url"]).dictionary_encode().indices.to_numpy().astype(np.int64)
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    starts = np.cumsum(sizes) - sizes
    if most is not None:
        rank = np.arange(len(order)) - np.repeat(starts, sizes)
        order = order[rank < most]
        reasons[TOO_MANY] = int((rank >= most).sum())
        sizes = np.minimum(sizes, most)
        starts = np.cumsum(sizes) - sizes
    reasons[SAME_URL] = len(order) - len(sizes)
    rows = table.take(pa.array(order[starts]))
    offsets = pa.array(np.append(starts, len(order)), pa.int32())
    for name, source in TEXT_LISTS.items():
        values = _array(table[source].take(pa.array(order)))
        rows = rows.append_column(name, pa.ListArray.from_arrays(offsets, values))
    return rows.cast(GROUPED_SCHEMA), +reasons


def _array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks)
