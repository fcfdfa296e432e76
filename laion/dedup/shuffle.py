"""Orders rows so that no host comes in bursts, one window of rows at a time.

Neighbouring rows of a WAT file come from one page and often name one host. In each window the rows
of every host are spread evenly, so that a download in this order rarely asks a host twice in a
short time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from laion.data.digest import Words, digest_words
from laion.dedup.native import load

_native = load("pairs")

#: The host of a URL, with user name and port.
_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*://(?P<host>[^/?#]*)"

#: Share of a table below which the rows to keep are copied at once: a window holds at most
#: twice its rows.
_LEAST_KEPT = 0.5


class Shuffle:
    """Takes tables and returns tables of the rows to keep, `window` rows each except the last.

    The order depends on the rows of a window, their order, and `seed`.
    """

    def __init__(self, window: int, seed: int) -> None:
        self._window = window
        self._seed = seed
        #: Tables, with the places of the rows to keep in each.
        self._held: list[tuple[pa.Table, npt.NDArray[np.intp]]] = []
        self._count = 0

    def add(self, table: pa.Table, kept: npt.NDArray[np.bool_]) -> Iterator[pa.Table]:
        """Take the rows of a table that are kept, and yield the windows that they complete."""
        places = np.flatnonzero(kept)
        # Rows are copied when their window is complete. The others are held until then, unless
        # they are many.
        if len(places) < _LEAST_KEPT * len(kept):
            table = table.filter(pa.array(kept))
            places = np.arange(table.num_rows)
        while self._count + len(places) >= self._window:
            missing = self._window - self._count
            stop = int(places[missing - 1]) + 1
            self._held.append((table.slice(0, stop), places[:missing]))
            yield from self.flush()
            table, places = table.slice(stop), places[missing:] - stop
        if len(places):
            self._held.append((table, places))
            self._count += len(places)

    def flush(self) -> Iterator[pa.Table]:
        """Yield the remaining rows."""
        if self._held:
            yield self._shuffled()
        self._held, self._count = [], 0

    def _shuffled(self) -> pa.Table:
        tables = [table for table, _ in self._held]
        starts = np.cumsum([0, *(table.num_rows for table in tables)])
        places = np.concatenate(
            [there + start for (_, there), start in zip(self._held, starts, strict=False)]
        )
        table = pa.concat_tables(tables).combine_chunks()
        _, low = digest_words(table["digest"])
        order = spread(host_codes(table["url"], places), mix(low[places], self._seed))
        return table.take(pa.array(places[order].astype(np.int32)))


def spread(hosts: npt.NDArray[Any], random: Words) -> npt.NDArray[np.intp]:
    """Return the order of rows that puts equal `hosts` as far apart as possible.

    The i-th of n rows of a host is placed at (i + u) / n of the whole, where u is a number in
    [0, 1) for that host. `random` decides u and the order of the host's rows.

    Args:
        hosts: whole numbers from 0 on, one a row.
        random: uniformly distributed words, one a row.
    """
    if not len(hosts):
        return np.empty(0, np.intp)
    by_random = _argsort(random)
    by_host = by_random[_argsort(hosts[by_random].astype(np.uint64))]
    sizes = np.bincount(hosts)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    ordered = hosts[by_host]
    rank = np.arange(len(hosts)) - starts[ordered]
    filled = sizes > 0
    offsets = np.zeros(len(sizes))
    offsets[filled] = random[by_host[starts[filled]]] / 2.0**64
    places = (rank + offsets[ordered]) / sizes[ordered]
    # The bits of numbers that are not negative are in their order.
    order: npt.NDArray[np.intp] = by_host[_argsort(places.view(np.uint64))]
    return order


def _argsort(keys: Words) -> npt.NDArray[np.intp]:
    """Return the stable order of keys."""
    if _native is None:
        return np.argsort(keys, kind="stable")
    order = np.empty(len(keys), np.int64)
    _native.argsort(np.ascontiguousarray(keys), order)
    return order.astype(np.intp, copy=False)


def mix(words: Words, seed: int) -> Words:
    """Return pseudo-random words, the same for the same input: splitmix64's finaliser.

    Sebastiano Vigna, https://prng.di.unimi.it/splitmix64.c
    """
    with np.errstate(over="ignore"):
        z = words + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        result: Words = z ^ (z >> np.uint64(31))
    return result


def host_codes(
    urls: pa.ChunkedArray, places: npt.NDArray[np.intp] | None = None
) -> npt.NDArray[np.int32]:
    """Return a number for the host of each URL, from 0 on, equal for equal hosts.

    Args:
        places: the URLs to look at; None for all.
    """
    if places is None:
        places = np.arange(len(urls))
    if _native is None or urls.num_chunks != 1 or urls.null_count:
        hosts = pc.struct_field(
            pc.extract_regex(urls.take(pa.array(places)), pattern=_HOST), "host"
        )
        if isinstance(hosts, pa.ChunkedArray):
            hosts = hosts.combine_chunks()
        found = pc.fill_null(hosts, "").dictionary_encode().indices.to_numpy()
        return np.asarray(found, np.int32)
    chunk = urls.chunk(0)
    _, offsets, data = chunk.buffers()
    there = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    codes = np.empty(len(places), np.int32)
    _native.host_codes(data or b"", there, np.ascontiguousarray(places, np.int64), codes)
    return codes
