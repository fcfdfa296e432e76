"""The only importer of faiss: indices made, trained, filled, merged, stored and searched.

All of them are over inner products of unit rows. Loaded ones are memory-mapped.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError
from laion.knn.kinds import HNSW_CONSTRUCTION

#: Bytes handed to a file at once.
_WRITE_SIZE = 1 << 20

#: Seed of every random choice in faiss's training.
_SEED = 1234


def load_faiss() -> ModuleType:
    """The module. Raises UsageError when it is not installed."""
    try:
        import faiss
    except ImportError:
        raise UsageError("indices need faiss: pip install 'img2ds[laion]'") from None
    return faiss


class Ann:
    """An index. What it finds are row numbers, in the order in which rows were added."""

    def __init__(self, index: Any) -> None:
        self._faiss = load_faiss()
        self._index = index
        inner = self._faiss.downcast_index(index)
        self._transformed = isinstance(inner, self._faiss.IndexPreTransform)
        if self._transformed:
            inner = self._faiss.downcast_index(inner.index)
        self._inner = inner

    @classmethod
    def create(cls, factory: str, dimension: int) -> Ann:
        """An empty index. Raises UsageError when faiss does not know the description."""
        faiss = load_faiss()
        try:
            index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
        except RuntimeError as error:
            words = str(error).strip().splitlines()[-1].rpartition(": ")[2]
            raise UsageError(
                f"--kind {factory}: neither flat, hnsw nor ivfpq, and faiss cannot make it for "
                f"{dimension} dimensions ({words})"
            ) from None
        made = cls(index)
        if made.effort_name == "efSearch":
            made._inner.hnsw.efConstruction = HNSW_CONSTRUCTION
        ivf = faiss.try_extract_index_ivf(index)
        if ivf is not None:
            ivf.cp.seed = _SEED
            # How many rows there are to train on is settled; faiss warns below 39 a centroid.
            for part in (ivf, getattr(made._inner, "pq", None)):
                if part is not None:
                    part.cp.min_points_per_centroid = 1
        return made

    @classmethod
    def load(cls, path: str) -> Ann:
        """The index stored at `path`, memory-mapped. Raises UsageError when it is damaged."""
        faiss = load_faiss()
        try:
            # The flag without IFC maps inverted lists alone: graphs and vectors would be read.
            return cls(faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC))
        except RuntimeError as error:
            words = str(error).strip().splitlines()[-1]
            raise UsageError(f"{path} cannot be read as an index: {words}") from None

    @classmethod
    def resume(cls, path: str) -> Ann:
        """The index stored at `path`, in memory, so that rows can be added."""
        return cls(load_faiss().read_index(path))

    def store(self, path: str) -> None:
        """Write it at `path`. Raises OSError."""
        # faiss's own writer takes no notice of what closing a file on a full disk says.
        with open(path, "wb") as file:
            writer = self._faiss.PyCallbackIOWriter(file.write, _WRITE_SIZE)
            self._faiss.write_index(self._index, writer)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        return int(self._index.d)

    @property
    def is_trained(self) -> bool:
        return bool(self._index.is_trained)

    @property
    def effort_name(self) -> str | None:
        """faiss's name of what trades recall for time, None where every row is compared."""
        if hasattr(self._inner, "hnsw"):
            return "efSearch"
        return "nprobe" if hasattr(self._inner, "nprobe") else None

    @property
    def most_effort(self) -> int:
        """The effort above which nothing is gained."""
        if self.effort_name == "nprobe":
            return int(self._inner.nlist)
        return max(len(self), 1)

    @property
    def is_exact(self) -> bool:
        """Whether its similarities are those of the vectors, not of compressed ones."""
        inner = self._inner
        storage = self._faiss.downcast_index(inner.storage) if hasattr(inner, "storage") else inner
        exact = (self._faiss.IndexFlat, self._faiss.IndexIVFFlat)
        return isinstance(storage, exact) and not self._transformed

    @property
    def merges(self) -> bool:
        """Whether parts of it can be filled one by one and put together."""
        return self._faiss.try_extract_index_ivf(self._index) is not None

    def train(self, vectors: npt.NDArray[np.float32]) -> None:
        """Raises UsageError when there are too few rows for this kind."""
        try:
            self._index.train(vectors)
        except RuntimeError as error:
            words = str(error).strip().splitlines()[-1].rpartition(": ")[2]
            raise UsageError(f"--kind cannot be trained on {len(vectors)} rows: {words}") from None

    def add(
        self, vectors: npt.NDArray[np.float32], ids: npt.NDArray[np.int64] | None = None
    ) -> None:
        if ids is None:
            self._index.add(vectors)
        else:
            self._index.add_with_ids(vectors, ids)

    def reserve(self, rows: int) -> None:
        """Make room for `rows` in all, so that adding them does not copy what is there.

        faiss's vectors double when they are full, and hold old and new at that moment: three
        times what they need. Growing and shrinking them leaves the room.
        """
        inner = self._inner
        storage = self._faiss.downcast_index(inner.storage) if hasattr(inner, "storage") else inner
        rooms = []
        if hasattr(storage, "codes") and hasattr(storage, "code_size"):
            rooms.append((storage.codes, rows * storage.code_size))
        if hasattr(inner, "hnsw"):
            # Some rows are on higher layers too: that makes little more than a link a row.
            links = inner.hnsw.cum_nb_neighbors(1) + 2
            rooms.append((inner.hnsw.neighbors, rows * links))
        for vector, size in rooms:
            used = vector.size()
            if size > used:
                vector.resize(size)
                vector.resize(used)

    def merge(self, path: str) -> None:
        """Take in the rows of the index stored at `path`, which was a copy of `self` once."""
        self._index.merge_from(self._faiss.read_index(path), 0)

    def search(
        self, vectors: npt.NDArray[np.float32], k: int, effort: int | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Similarities and rows, each [len(vectors), k], best first; row -1 where there are fewer.

        Args:
            effort: see `effort_name`; of a graph at least k is taken.
        """
        faiss = self._faiss
        parameters: Any = None
        if effort is not None and self.effort_name == "efSearch":
            parameters = faiss.SearchParametersHNSW(efSearch=max(effort, k))
        elif effort is not None and self.effort_name == "nprobe":
            kind = faiss.SearchParametersIVF
            if hasattr(self._inner, "pq"):
                kind = faiss.IVFPQSearchParameters
            parameters = kind(nprobe=min(effort, self.most_effort))
        if parameters is not None and self._transformed:
            parameters = faiss.SearchParametersPreTransform(index_params=parameters)
        scores, ids = self._index.search(np.ascontiguousarray(vectors), k, params=parameters)
        return scores, ids


def exact_neighbours(
    queries: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Similarities and places in `vectors` of the `k` most similar ones, by comparing with all."""
    faiss = load_faiss()
    scores, places = faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, places.astype(np.int64)


def set_threads(count: int) -> None:
    """How many threads faiss uses for calls of this thread."""
    load_faiss().omp_set_num_threads(count)
