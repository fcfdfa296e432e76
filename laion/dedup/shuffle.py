"""An order in which no host comes in bursts, made a window of rows at a time.

Rows of a WAT file that are neighbours are of one page and often of one host. In each window the
rows of every host are spread evenly over its length, so that who downloads the rows in their
order asks each host as seldom as can be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from laion.dedup.digest import halves, mixed

#: What stands for the host of a URL; user names and ports are part of it.
_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*://(?P<host>[^/?#]*)"


class Shuffle:
    """Takes tables and gives tables of the same rows, `window` of them each but for the last.

    The order depends on the rows of a window, their order, and `seed`.
    """

    def __init__(self, window: int, seed: int) -> None:
        self._window = window
        self._seed = seed
        self._held: list[pa.Table] = []
        self._count = 0

    def put(self, table: pa.Table) -> Iterator[pa.Table]:
        """Take rows, give the windows that they fill."""
        self._held.append(table)
        self._count += table.num_rows
        while self._count >= self._window:
            rows = pa.concat_tables(self._held)
            yield self._spread(rows.slice(0, self._window))
            rest = rows.slice(self._window)
            self._held, self._count = [rest], rest.num_rows

    def end(self) -> Iterator[pa.Table]:
        """Give what is left."""
        if self._count:
            yield self._spread(pa.concat_tables(self._held))
        self._held, self._count = [], 0

    def _spread(self, table: pa.Table) -> pa.Table:
        table = table.combine_chunks()
        _, low = halves(table["digest"])
        order = spread(host_codes(table["url"]), mixed(low, self._seed))
        return table.take(pa.array(order.astype(np.int32)))


def spread(hosts: npt.NDArray[Any], chance: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
    """The order of rows that puts equal `hosts` as far apart as can be.

    The i-th of n rows of a host goes to (i + u) / n of the way, where u is the host's own number
    in [0, 1); `chance` decides that, and which row of a host is its i-th.

    Args:
        hosts: whole numbers from 0 on, one a row.
        chance: numbers that look drawn at random, one a row.
    """
    if not len(hosts):
        return np.empty(0, np.intp)
    by_host = np.lexsort((chance, hosts))
    sizes = np.bincount(hosts)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    ordered = hosts[by_host]
    rank = np.arange(len(hosts)) - starts[ordered]
    filled = sizes > 0
    offsets = np.zeros(len(sizes))
    offsets[filled] = chance[by_host[starts[filled]]] / 2.0**64
    places = (rank + offsets[ordered]) / sizes[ordered]
    order: npt.NDArray[np.intp] = by_host[np.argsort(places, kind="stable")]
    return order


def host_codes(urls: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    """A number for each URL's host, equal for equal hosts; they start from 0."""
    hosts = pc.struct_field(pc.extract_regex(urls, pattern=_HOST), "host")
    if isinstance(hosts, pa.ChunkedArray):
        hosts = hosts.combine_chunks()
    codes: npt.NDArray[np.int32] = (
        pc.fill_null(hosts, "").dictionary_encode().indices.to_numpy().astype(np.int32)
    )
    return codes
