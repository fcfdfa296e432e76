"""The kinds of index: what each needs, and which library builds it.

A new kind or library is one entry of `KINDS`. Sizes are those that faiss 1.15 stores.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from img2ds.core.failure import UsageError
from laion.knn.ann_index import AnnIndex
from laion.knn.build_memory import BuildMemory

#: Rows up to which comparing with every one answers within some 10 ms on a core (512 dimensions).
FLAT_ROWS = 20_000

#: Links of a row in the graph; a recall above 0.95 at 512 dimensions takes 32.
HNSW_LINKS = 32

#: Training rows for each centroid, where memory allows; faiss drops those above 256.
POINTS_PER_CENTROID = 64
#: And at least so many: faiss warns below.
LEAST_POINTS_PER_CENTROID = 39

#: Rows needed to train the 256 centroids of an 8-bit code.
IVFPQ_ROWS = 1024

#: The kind recorded for an index built from a factory string.
CUSTOM = "custom"

_FAISS = "laion.knn.faiss_index:FaissIndex"
_LISTS = re.compile(r"IVF(\d+)")


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """An index to build.

    Attributes:
        kind: a name in `KINDS`, or `CUSTOM`.
        factory: the library's description of the index.
        train_rows: rows to train on, 0 for none.
        memory: bytes when all of it is in use; None if unknown.
        limit: bytes that building it may take.
        on_disk: whether it is searched from the disk, a few lists at a time.
    """

    kind: str
    factory: str
    train_rows: int = 0
    memory: int | None = None
    limit: int = 0
    on_disk: bool = False


@dataclass(frozen=True, slots=True)
class IndexKind:
    """One kind of index.

    Attributes:
        plan: given rows, dimension and the memory allowed, the index to build; it may exceed that
            memory when no smaller one is possible.
        min_rows: rows below which it cannot be trained.
        max_rows: rows above which another kind is the default.
        library: `module:class` of its `AnnIndex`.
    """

    plan: Callable[[int, int, int], IndexPlan]
    min_rows: int = 0
    max_rows: float = math.inf
    library: str = _FAISS


def _flat(rows: int, dimension: int, max_memory: int) -> IndexPlan:
    return IndexPlan("flat", "Flat", memory=4 * dimension * rows)


def _hnsw(rows: int, dimension: int, max_memory: int) -> IndexPlan:
    # The lowest layer has twice the links; the others hold one row in HNSW_LINKS. Ids are int32,
    # and each row has an offset of 8 bytes and a level of 4.
    size = rows * (4 * dimension + 4 * HNSW_LINKS * 2 + 4 + 12)
    return IndexPlan("hnsw", f"HNSW{HNSW_LINKS},Flat", memory=size)


def _ivfpq(rows: int, dimension: int, max_memory: int) -> IndexPlan:
    """Plan the longest codes that fit, each stored with its row number of 8 bytes."""
    codes = [dimension // per for per in (4, 8, 16, 32) if dimension % per == 0] or [1]
    code = next((c for c in codes if rows * (c + 8) <= max_memory), codes[-1])
    sample = BuildMemory(max_memory, dimension).copied_sample_rows
    lists = _lists(rows, sample)
    # From here on finding the nearest lists would cost more than searching them.
    coarse = f"IVF{lists}_HNSW32" if lists >= 16_384 else f"IVF{lists}"
    # np: no polysemous codes, which are not used here and take seconds a byte to train.
    factory = f"{coarse},PQ{code}x8np"
    train = _train_rows(factory, rows, sample)
    return IndexPlan("ivfpq", factory, train, rows * (code + 8))


def _rabitq(rows: int, dimension: int, max_memory: int) -> IndexPlan:
    """Plan one bit a dimension, in lists that stay on the disk: memory holds their centroids."""
    sample = BuildMemory(max_memory, dimension).sample_rows
    lists = _lists(rows, sample)
    coarse = f"IVF{lists}_HNSW32" if lists >= 1024 else f"IVF{lists}"
    factory = f"{coarse},RaBitQ"
    train = _train_rows(factory, rows, sample)
    memory = lists * (4 * dimension + 8 * HNSW_LINKS + 16)
    return IndexPlan("rabitq", factory, train, memory, on_disk=True)


def _lists(rows: int, sample: int) -> int:
    """4 sqrt(rows) lists, as faiss's guide recommends, as a power of two and with rows to train."""
    lists: int = 2 ** round(math.log2(4 * math.sqrt(rows)))
    while lists > 16 and (
        lists * POINTS_PER_CENTROID > rows or lists * LEAST_POINTS_PER_CENTROID > sample
    ):
        lists //= 2
    return lists


#: Every kind by its name in `--kind` and `index.json`, from the best recall to the smallest.
KINDS = {
    "flat": IndexKind(_flat, max_rows=FLAT_ROWS),
    "hnsw": IndexKind(_hnsw),
    "ivfpq": IndexKind(_ivfpq, min_rows=IVFPQ_ROWS),
    "rabitq": IndexKind(_rabitq, min_rows=IVFPQ_ROWS),
}


def choose_plan(kind: str | None, rows: int, dimension: int, max_memory: int) -> IndexPlan:
    """Plan an index of a kind, or by default of the kind with the best recall that fits.

    Args:
        kind: a name in `KINDS`, a factory string, or None.
        max_memory: bytes.

    Raises:
        UsageError: it does not fit, or there are too few rows to train it.
    """
    if kind is None:
        plans = [
            replace(each.plan(rows, dimension, max_memory), limit=max_memory)
            for each in KINDS.values()
            if each.min_rows <= rows <= each.max_rows
        ]
        for plan in plans:
            if _fits(plan, max_memory):
                return plan
        smallest = min(plan.memory or 0 for plan in plans)
        raise UsageError(
            f"the smallest index of {rows} rows takes {_mb(smallest)}, above --max_memory "
            f"{_mb(max_memory)}: raise --max_memory"
        )
    if kind not in KINDS:
        sample = BuildMemory(max_memory, dimension).copied_sample_rows
        return IndexPlan(CUSTOM, kind, _train_rows(kind, rows, sample), limit=max_memory)
    if rows < KINDS[kind].min_rows:
        raise UsageError(
            f"--kind {kind} needs {KINDS[kind].min_rows} rows to train on, got {rows}: "
            "use --kind flat"
        )
    plan = replace(KINDS[kind].plan(rows, dimension, max_memory), limit=max_memory)
    if not _fits(plan, max_memory):
        smaller = {"ivfpq": " or use --kind rabitq", "rabitq": ""}.get(kind, " or use --kind ivfpq")
        raise UsageError(
            f"--kind {kind} takes {_mb(plan.memory or 0)} for {rows} rows, above --max_memory "
            f"{_mb(max_memory)}: raise --max_memory{smaller}"
        )
    return plan


def index_class(kind: str) -> type[AnnIndex]:
    """Import the class that builds and loads indices of a kind."""
    library = KINDS[kind].library if kind in KINDS else _FAISS
    module, _, name = library.partition(":")
    found: type[AnnIndex] = getattr(importlib.import_module(module), name)
    return found


def _fits(plan: IndexPlan, max_memory: int) -> bool:
    return plan.memory is None or plan.memory <= max_memory


def _train_rows(factory: str, rows: int, sample: int) -> int:
    match = _LISTS.search(factory)
    lists = int(match[1]) if match else 0
    wanted = max(POINTS_PER_CENTROID * lists, 256 * 256)
    # The lists that were asked for have a row each at least, whatever it takes.
    return min(rows, max(min(wanted, sample), lists, 256))


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
