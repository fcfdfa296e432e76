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

#: The host of a URL, with user name and port.
_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*://(?P<host>[^/?#]*)"


class Shuffle:
    """Takes tables and returns tables of the same rows, `window` rows each except the last.

    The order depends on the rows of a window, their order, and `seed`.
    """

    def __init__(self, window: int, seed: int) -> None:
        self._window = window
        self._seed = seed
        self._held: list[pa.Table] = []
        self._count = 0

    def add(self, table: pa.Table) -> Iterator[pa.Table]:
        """Take rows and yield the windows that they complete."""
        self._held.append(table)
        self._count += table.num_rows
        while self._count >= self._window:
            rows = pa.concat_tables(self._held)
            yield self._shuffled(rows.slice(0, self._window))
            rest = rows.slice(self._window)
            self._held, self._count = [rest], rest.num_rows

    def flush(self) -> Iterator[pa.Table]:
        """Yield the remaining rows."""
        if self._count:
            yield self._shuffled(pa.concat_tables(self._held))
        self._held, self._count = [], 0

    def _shuffled(self, table: pa.Table) -> pa.Table:
        table = table.combine_chunks()
        _, low = digest_words(table["digest"])
        order = spread(host_codes(table["url"]), mix(low, self._seed))
        return table.take(pa.array(order.astype(np.int32)))


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
    by_host = np.lexsort((random, hosts))
    sizes = np.bincount(hosts)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    ordered = hosts[by_host]
    rank = np.arange(len(hosts)) - starts[ordered]
    filled = sizes > 0
    offsets = np.zeros(len(sizes))
    offsets[filled] = random[by_host[starts[filled]]] / 2.0**64
    places = (rank + offsets[ordered]) / sizes[ordered]
    order: npt.NDArray[np.intp] = by_host[np.argsort(places, kind="stable")]
    return order


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


def host_codes(urls: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    """Return a number for the host of each URL, from 0 on, equal for equal hosts."""
    hosts = pc.struct_field(pc.extract_regex(urls, pattern=_HOST), "host")
    if isinstance(hosts, pa.ChunkedArray):
        hosts = hosts.combine_chunks()
    codes: npt.NDArray[np.int32] = (
        pc.fill_null(hosts, "").dictionary_encode().indices.to_numpy().astype(np.int32)
    )
    return codes
