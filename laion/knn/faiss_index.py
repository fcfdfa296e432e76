"""The faiss implementation of `AnnIndex`; no other module imports faiss."""

from __future__ import annotations

import errno
import os
from types import ModuleType
from typing import Any

import numpy as np

from img2ds.core.failure import UsageError
from laion.knn.ann_index import Ids, Vectors

#: Bytes passed to a file at once.
_WRITE_SIZE = 1 << 20

#: Seed of every random choice in faiss's training.
_SEED = 1234

#: HNSW's efConstruction: rows examined for each added row. More make a better graph, more slowly.
_HNSW_CONSTRUCTION = 80


def load_faiss() -> ModuleType:
    """Import faiss. Raises UsageError when it is not installed."""
    try:
        import faiss
    except ImportError:
        raise UsageError("indices need the package faiss: pip install 'img2ds[laion]'") from None
    return faiss


class FaissIndex:
    """See `AnnIndex`. A description is one of faiss's factory strings."""

    def __init__(self, index: Any) -> None:
        self._faiss = load_faiss()
        self._index = index
        inner = self._faiss.downcast_index(index)
        self._transformed = isinstance(inner, self._faiss.IndexPreTransform)
        if self._transformed:
            inner = self._faiss.downcast_index(inner.index)
        self._inner = inner

    @classmethod
    def require(cls) -> None:
        load_faiss()

    @classmethod
    def create(cls, factory: str, dimension: int) -> FaissIndex:
        faiss = load_faiss()
        try:
            index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
        except RuntimeError as error:
            raise UsageError(
                f"--kind '{factory}' is neither flat, hnsw, ivfpq nor a faiss factory string for "
                f"{dimension} dimensions ({_reason(error)})"
            ) from None
        created = cls(index)
        if created.effort_name == "efSearch":
            created._inner.hnsw.efConstruction = _HNSW_CONSTRUCTION
        ivf = faiss.try_extract_index_ivf(index)
        if ivf is not None:
            ivf.cp.seed = _SEED
            # The number of training rows is chosen by the plan; faiss warns below 39 a centroid.
            for clustered in (ivf, getattr(created._inner, "pq", None)):
                if clustered is not None:
                    clustered.cp.min_points_per_centroid = 1
        return created

    @classmethod
    def load(cls, path: str) -> FaissIndex:
        faiss = load_faiss()
        try:
            # IO_FLAG_MMAP alone maps inverted lists only; graphs and vectors would be read.
            return cls(faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC))
        except RuntimeError as error:
            if os.strerror(errno.EMFILE) in str(error):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path) from None
            reason = str(error).strip().splitlines()[-1]
            raise UsageError(f"'{path}' is not a readable index: {reason}") from None

    @classmethod
    def resume(cls, path: str) -> FaissIndex:
        return cls(load_faiss().read_index(path))

    def store(self, path: str) -> None:
        # faiss's own writer ignores the error of closing a file on a full disk.
        with open(path, "wb") as file:
            writer = self._faiss.PyCallbackIOWriter(file.write, _WRITE_SIZE)
            self._faiss.write_index(self._index, writer)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def is_trained(self) -> bool:
        return bool(self._index.is_trained)

    @property
    def effort_name(self) -> str | None:
        if hasattr(self._inner, "hnsw"):
            return "efSearch"
        return "nprobe" if hasattr(self._inner, "nprobe") else None

    @property
    def max_effort(self) -> int:
        if self.effort_name == "nprobe":
            return int(self._inner.nlist)
        return max(len(self), 1)

    @property
    def is_exact(self) -> bool:
        exact = (self._faiss.IndexFlat, self._faiss.IndexIVFFlat)
        return isinstance(self._storage, exact) and not self._transformed

    @property
    def is_mergeable(self) -> bool:
        return self._faiss.try_extract_index_ivf(self._index) is not None

    @property
    def _storage(self) -> Any:
        """The part of the index that holds the vectors."""
        inner = self._inner
        return self._faiss.downcast_index(inner.storage) if hasattr(inner, "storage") else inner

    def train(self, vectors: Vectors) -> None:
        try:
            self._index.train(vectors)
        except RuntimeError as error:
            raise UsageError(
                f"--kind cannot be trained on {len(vectors)} rows: {_reason(error)}"
            ) from None

    def add(self, vectors: Vectors, ids: Ids | None = None) -> None:
        if ids is None:
            self._index.add(vectors)
        else:
            self._index.add_with_ids(vectors, ids)

    def reserve(self, rows: int) -> None:
        # faiss's vectors double when they are full and then hold old and new memory: three times
        # what they need. Growing and shrinking a vector keeps its capacity.
        inner, storage = self._inner, self._storage
        sizes = []
        if hasattr(storage, "codes") and hasattr(storage, "code_size"):
            sizes.append((storage.codes, rows * storage.code_size))
        if hasattr(inner, "hnsw"):
            # Rows on higher layers add little more than one link for each row.
            links = inner.hnsw.cum_nb_neighbors(1) + 2
            sizes.append((inner.hnsw.neighbors, rows * links))
        for vector, size in sizes:
            used = vector.size()
            if size > used:
                vector.resize(size)
                vector.resize(used)

    def merge(self, path: str) -> None:
        self._index.merge_from(self._faiss.read_index(path), 0)

    def search(self, vectors: Vectors, k: int, effort: int | None = None) -> tuple[Vectors, Ids]:
        faiss = self._faiss
        parameters: Any = None
        if effort is not None and self.effort_name == "efSearch":
            parameters = faiss.SearchParametersHNSW(efSearch=max(effort, k))
        elif effort is not None and self.effort_name == "nprobe":
            pq = hasattr(self._inner, "pq")
            create = faiss.IVFPQSearchParameters if pq else faiss.SearchParametersIVF
            parameters = create(nprobe=min(effort, self.max_effort))
        if parameters is not None and self._transformed:
            parameters = faiss.SearchParametersPreTransform(index_params=parameters)
        scores, ids = self._index.search(np.ascontiguousarray(vectors), k, params=parameters)
        return scores, ids

    def set_threads(self, count: int) -> None:
        self._faiss.omp_set_num_threads(count)


def exact_neighbors(queries: Vectors, vectors: Vectors, k: int) -> tuple[Vectors, Ids]:
    """Find the `k` nearest of `vectors` by comparing with every one.

    Returns:
        Similarities and positions in `vectors`, each [len(queries), k], best first.
    """
    faiss = load_faiss()
    scores, positions = faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, positions.astype(np.int64)


def _reason(error: RuntimeError) -> str:
    """The last clause of a faiss error, without the source line."""
    return str(error).strip().splitlines()[-1].rpartition(": ")[2]
