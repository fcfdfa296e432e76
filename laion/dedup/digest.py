"""Digests of pairs as numbers: the form in which they are compared by the million."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from laion.data.candidate_columns import DIGEST_BYTES

Words = npt.NDArray[np.uint64]


def halves(column: pa.ChunkedArray | pa.Array) -> tuple[Words, Words]:
    """The first and last eight bytes of each digest as big-endian numbers.

    Args:
        column: fixed-size binary of 16 bytes, without nulls.
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_pairs(chunk) for chunk in chunks if len(chunk)]
    if not parts:
        return np.empty(0, np.uint64), np.empty(0, np.uint64)
    pairs = np.concatenate(parts)
    return pairs[:, 0].astype(np.uint64), pairs[:, 1].astype(np.uint64)


def _pairs(chunk: pa.Array) -> npt.NDArray[Any]:
    words = np.frombuffer(chunk.buffers()[1], ">u8").reshape(-1, DIGEST_BYTES // 8)
    return words[chunk.offset : chunk.offset + len(chunk)]


def mixed(words: Words, seed: int) -> Words:
    """Numbers that look drawn at random, the same for the same input: splitmix64's finaliser.

    Sebastiano Vigna, https://prng.di.unimi.it/splitmix64.c
    """
    with np.errstate(over="ignore"):
        z = words + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        result: Words = z ^ (z >> np.uint64(31))
    return result


def firsts(high: Words, low: Words) -> npt.NDArray[np.bool_]:
    """Which digests are the first of their value, in the order given."""
    count = len(high)
    if count == 0:
        return np.zeros(0, np.bool_)
    # Each digest is sent to a place of a table in which the first one that comes stays: nearly
    # all are settled by that, without sorting.
    bits = max(count - 1, 1).bit_length() + 1
    index = np.arange(count, dtype=np.int32)
    table = np.full(1 << bits, count, np.int32)
    places = (low >> np.uint64(64 - bits)).astype(np.intp)
    np.minimum.at(table, places, index)
    winners = table[places]
    first: npt.NDArray[np.bool_] = winners == index
    rest = np.flatnonzero(~first)
    # One that is equal to its winner comes later than it; the others share a place by chance.
    same = (high[rest] == high[winners[rest]]) & (low[rest] == low[winners[rest]])
    rest = rest[~same]
    order = rest[np.lexsort((low[rest], high[rest]))]  # stable: the earlier of equals comes first
    new = np.ones(len(order), np.bool_)
    new[1:] = (high[order[1:]] != high[order[:-1]]) | (low[order[1:]] != low[order[:-1]])
    first[order[new]] = True
    return first
