"""The faiss implementation of `AnnIndex`; no other module imports faiss."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from img2ds.core.failure import UsageError
from laion.knn.ann_index import Ids, Vectors
from laion.knn.list_file import (
    ListShape,
    StoredLists,
    empty_size,
    lists_of,
    shape_of_lists,
    write_merged,
)

#: Bytes of a row's number beside its code.
_ID_SIZE = 8

#: Bytes passed to a file at once.
_WRITE_SIZE = 1 << 20

#: Seed of every random choice in faiss's training.
_SEED = 1234

#: HNSW's efConstruction: rows examined for each added row. More make a better graph, more slowly.
_HNSW_CONSTRUCTION = 80

#: Centroids that are examined for a row that is added (faiss: 16), and for a search of an index on
#: disk. Measured with 4,096 centroids, images asked by texts: of the 64 nearest, 39 % are found
#: with 16, 75 % with 128, 94 % with 512.
_CENTROIDS_EXAMINED, _CENTROIDS_SEARCHED = 64, 512


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
        self.on_disk = False
        self._lists: StoredLists | None = None
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
                f"--kind '{factory}' is neither flat, hnsw, ivfpq, rabitq nor a faiss factory "
                f"string for {dimension} dimensions ({_reason(error)})"
            ) from None
        created = cls(index)
        if created.effort_name == "efSearch":
            created._inner.hnsw.efConstruction = _HNSW_CONSTRUCTION
        ivf = faiss.try_extract_index_ivf(index)
        if ivf is not None:
            ivf.cp.seed = _SEED
            _examine_centroids(ivf, _CENTROIDS_EXAMINED)
            # The number of training rows is chosen by the plan; faiss warns below 39 a centroid.
            for clustered in (ivf, getattr(created._inner, "pq", None)):
                if clustered is not None:
                    clustered.cp.min_points_per_centroid = 1
        return created

    @classmethod
    def load(cls, path: str, on_disk: bool = False) -> FaissIndex:
        faiss = load_faiss()
        try:
            # IO_FLAG_MMAP alone maps inverted lists only; graphs and vectors would be read.
            index = cls(faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC))
        except RuntimeError as error:
            if os.strerror(errno.EMFILE) in str(error):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path) from None
            reason = str(error).strip().splitlines()[-1]
            raise UsageError(f"'{path}' is not a readable index: {reason}") from None
        index.on_disk = on_disk
        if on_disk:
            ivf = faiss.extract_index_ivf(index._index)
            # Texts are far from all images: a graph of centroids finds few of the nearest.
            _examine_centroids(ivf, _CENTROIDS_SEARCHED)
            shape = ListShape(int(ivf.nlist), int(ivf.code_size))
            index._lists = lists_of(path, len(index), shape)
        return index

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

    def store_merged(self, path: str, segments: Sequence[str]) -> None:
        faiss = self._faiss
        shape = shape_of_lists(faiss.serialize_index(self._index).tobytes())
        if shape is None:  # lists in blocks, whose codes depend on their places
            for segment in segments:
                self._index.merge_from(faiss.read_index(segment), 0)
            self.store(path)
            return
        ivf = faiss.extract_index_ivf(self._index)
        head = len(faiss.serialize_index(self._index)) - empty_size()
        parts = [StoredLists(segment, head, shape) for segment in segments]
        rows = sum(int(part.sizes.sum()) for part in parts)
        try:
            self._index.ntotal = ivf.ntotal = rows
            trained = faiss.serialize_index(self._index).tobytes()
        finally:
            self._index.ntotal = ivf.ntotal = 0
        with open(path, "wb", buffering=_WRITE_SIZE) as file:
            write_merged(file, trained, shape, parts)

    @property
    def code_size(self) -> int:
        ivf = self._faiss.try_extract_index_ivf(self._index)
        return int(ivf.code_size) + _ID_SIZE if ivf is not None else 4 * int(self._index.d)

    def search(self, vectors: Vectors, k: int, effort: int | None = None) -> tuple[Vectors, Ids]:
        faiss = self._faiss
        parameters: Any = None
        if effort is not None and self.effort_name == "efSearch":
            parameters = faiss.SearchParametersHNSW(efSearch=max(effort, k))
        elif effort is not None and self.effort_name == "nprobe":
            pq = hasattr(self._inner, "pq")
            create = faiss.IVFPQSearchParameters if pq else faiss.SearchParametersIVF
            if isinstance(self._inner, faiss.IndexIVFRaBitQ):
                create = faiss.IVFRaBitQSearchParameters
            parameters = create(nprobe=min(effort, self.max_effort))
        if parameters is not None and self._transformed:
            parameters = faiss.SearchParametersPreTransform(index_params=parameters)
        if self._lists is not None:
            # Lists are far apart: the disk reads them together, instead of one page at a time.
            probes = min(effort or 1, self.max_effort)
            _, lists = self._inner.quantizer.search(np.ascontiguousarray(vectors), probes)
            self._lists.fetch(np.unique(lists[lists >= 0]))
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


def _examine_centroids(ivf: Any, count: int) -> None:
    """Have a graph of centroids examine so many for a row."""
    faiss = load_faiss()
    quantizer = faiss.downcast_index(ivf.quantizer)
    if hasattr(quantizer, "hnsw"):
        quantizer.hnsw.efSearch = count


def _reason(error: RuntimeError) -> str:
    """The last clause of a faiss error, without the source line."""
    return str(error).strip().splitlines()[-1].rpartition(": ")[2]
