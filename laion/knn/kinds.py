"""Which kind of index for how many rows and how much memory. Pure.

A kind is a name of ours or one of faiss's factory strings; sizes are what faiss 1.15 stores.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from img2ds.core.failure import UsageError

KINDS = ("flat", "hnsw", "ivfpq")

#: Rows up to which comparing with every one answers within some 10 ms on a core (512 dimensions).
FLAT_ROWS = 20_000

#: Links of a row in the graph; 32 is what recall of 0.95 and more takes at 512 dimensions.
HNSW_LINKS = 32

#: Rows looked at for each one that is added: more make a better graph, in more time.
HNSW_CONSTRUCTION = 80

#: Rows that training is done on for each centroid; faiss warns below 39 and drops those above 256.
POINTS_PER_CENTROID = 64

#: Rows without which the 256 centroids of a code of 8 bits cannot be trained.
IVFPQ_ROWS = 1024

_LISTS = re.compile(r"IVF(\d+)")


@dataclass(frozen=True, slots=True)
class Kind:
    """An index to build.

    Attributes:
        name: `flat`, `hnsw`, `ivfpq`, or `custom` for a factory string.
        factory: faiss's description of it.
        train_rows: rows to train on, 0 for none.
        memory: bytes it takes when all of it is in use, None for a factory string.
    """

    name: str
    factory: str
    train_rows: int
    memory: int | None


def choose_kind(asked: str | None, rows: int, dimension: int, max_memory: int) -> Kind:
    """The kind asked for, or the one with the best recall that `max_memory` bytes have room for.

    Raises:
        UsageError: the kind asked for does not fit, or there are too few rows for it.
    """
    if asked is None:
        if rows <= FLAT_ROWS and _flat(rows, dimension).memory_fits(max_memory):
            return _flat(rows, dimension).kind
        graph = _hnsw(rows, dimension)
        if graph.memory_fits(max_memory):
            return graph.kind
        if rows < IVFPQ_ROWS:
            raise UsageError(
                f"{rows} rows take {_mb(4 * rows * dimension)}, above --max_memory "
                f"{_mb(max_memory)}: give it more"
            )
        return _ivfpq(rows, dimension, max_memory)
    if asked == "ivfpq":
        if rows < IVFPQ_ROWS:
            raise UsageError(
                f"--kind ivfpq is trained on {IVFPQ_ROWS} rows at least and there are {rows}: "
                "use --kind flat"
            )
        return _ivfpq(rows, dimension, max_memory)
    if asked not in KINDS:
        return Kind("custom", asked, _train_rows(asked, rows), None)
    sized = _flat(rows, dimension) if asked == "flat" else _hnsw(rows, dimension)
    if not sized.memory_fits(max_memory):
        raise UsageError(
            f"--kind {asked} takes {_mb(sized.bytes)} for {rows} rows, above --max_memory "
            f"{_mb(max_memory)}: give it more, or use --kind ivfpq"
        )
    return sized.kind


@dataclass(frozen=True, slots=True)
class _Sized:
    kind: Kind
    bytes: int

    def memory_fits(self, max_memory: int) -> bool:
        return self.bytes <= max_memory


def _flat(rows: int, dimension: int) -> _Sized:
    size = 4 * dimension * rows
    return _Sized(Kind("flat", "Flat", 0, size), size)


def _hnsw(rows: int, dimension: int) -> _Sized:
    # The lowest layer has twice the links; the others hold one row in HNSW_LINKS. Ids are int32,
    # and each row has an offset of 8 bytes and a level of 4.
    size = rows * (4 * dimension + 4 * HNSW_LINKS * 2 + 4 + 12)
    return _Sized(Kind("hnsw", f"HNSW{HNSW_LINKS},Flat", 0, size), size)


def _ivfpq(rows: int, dimension: int, max_memory: int) -> Kind:
    """The longest codes that fit, with the row's number, of 8 bytes, beside each."""
    codes = [dimension // per for per in (4, 8, 16, 32) if dimension % per == 0] or [1]
    code = next((c for c in codes if rows * (c + 8) <= max_memory), None)
    if code is None:
        raise UsageError(
            f"the shortest codes take {_mb(rows * (codes[-1] + 8))} for {rows} rows, above "
            f"--max_memory {_mb(max_memory)}: give it more"
        )
    # 4 sqrt(rows) lists, as faiss's guide has it, as a power of two and with rows to train on.
    lists = 2 ** round(math.log2(4 * math.sqrt(rows)))
    while lists > 16 and lists * POINTS_PER_CENTROID > rows:
        lists //= 2
    # From here on finding the nearest lists would cost more than looking into them.
    coarse = f"IVF{lists}_HNSW32" if lists >= 16_384 else f"IVF{lists}"
    # np: no polysemous codes, which nothing here uses and which take seconds a byte to train.
    factory = f"{coarse},PQ{code}x8np"
    return Kind("ivfpq", factory, _train_rows(factory, rows), rows * (code + 8))


def _train_rows(factory: str, rows: int) -> int:
    match = _LISTS.search(factory)
    lists = int(match[1]) if match else 0
    return min(rows, max(POINTS_PER_CENTROID * lists, 256 * 256))


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB".replace(",", " ")
