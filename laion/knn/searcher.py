"""Searches an index folder by vector, over images or texts, with filters, page by page.

All files are memory-mapped: opening a folder of any size takes little time and memory.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from img2ds.core.failure import UsageError
from laion.knn.ann_index import AnnIndex, Ids, Vectors
from laion.knn.description import array_name, read_description, rows_name
from laion.knn.filters import Filters, without_near_duplicates
from laion.knn.index_kinds import index_class
from laion.knn.metadata import Metadata
from laion.knn.ranking import Setting, nearest
from laion.knn.vectors import VectorFiles

#: Candidates examined for one search, at most, whatever share of them the filters drop.
MAX_CANDIDATES = 16_384

#: Candidates fetched at first. Counts are these times powers of 4, so that all pages of one
#: search see the same candidates in the same order.
_MIN_CANDIDATES = 128
_GROWTH = 4

#: Vectors read at once while near-duplicates are dropped.
_COMPARED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class SearchParams:
    """What to find: `k` results after the first `offset`, among `image` or `text` embeddings."""

    index: str = "image"
    k: int = 20
    offset: int = 0
    filters: Filters = Filters()
    deduplicate: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """One row. `similarity` is the cosine of the query and the row."""

    id: int
    similarity: float
    row: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Its JSON, as the command and the API give it."""
        shown = {name: self.row[name] for name in ("width", "height", "license", "nsfw")}
        return {
            "id": self.id,
            "url": self.row["url"],
            "text": self.row["text"],
            "similarity": round(self.similarity, 4),
            **shown,
        }


@dataclass(frozen=True, slots=True)
class SearchResults:
    """One page of results. `next_offset` is where the next page begins; None on the last one."""

    results: list[Result]
    next_offset: int | None


class Searcher:
    """An open index folder. Thread-safe.

    Raises:
        UsageError: the folder has no finished index, its files are damaged, or too many files are
            open.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        try:
            self._open(folder)
        except (OSError, ValueError, pa.ArrowException) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(_open_error(folder, error)) from None
        for kind in self.kinds:
            counts = {len(self._indices[kind]), len(self._vectors[kind]), len(self.metadata)}
            if counts != {len(self)}:
                raise UsageError(
                    f"'{folder}' is damaged (the files of the {kind} index differ in rows): "
                    "rebuild the index"
                )

    def _open(self, folder: str) -> None:
        self.description = read_description(folder)
        self.kinds: tuple[str, ...] = tuple(self.description.indices)
        parts = self.description.parts
        self.metadata = Metadata(os.path.join(folder, rows_name(n)) for n in parts)
        self._vectors = {
            kind: VectorFiles(os.path.join(folder, array_name(kind, n)) for n in parts)
            for kind in self.kinds
        }
        self._indices: dict[str, AnnIndex] = {
            name: index_class(index.kind).load(os.path.join(folder, index.file))
            for name, index in self.description.indices.items()
        }

    def __len__(self) -> int:
        return self.description.rows

    @property
    def _main_kind(self) -> str:
        """The kind of vectors that stand for a row: the image's where there are any."""
        return "image" if "image" in self.kinds else self.kinds[0]

    def vector(self, row_id: int) -> Vectors:
        """Return the vector of a row to search by. Raises IndexError."""
        if not 0 <= row_id < len(self):
            raise IndexError(f"there is no row {row_id}: rows are numbered 0 to {len(self) - 1}")
        vector: Vectors = self._vectors[self._main_kind].rows(np.array([row_id], np.int64))[0]
        return vector

    def search(self, vector: Vectors, params: SearchParams) -> SearchResults:
        """Find the rows most similar to `vector`, a unit vector of the index's dimension.

        Raises:
            UsageError: there is no such index.
        """
        if params.index not in self.kinds:
            raise UsageError(f"there is no {params.index} index, only {self.kinds[0]}")
        self._indices[params.index].set_threads(1)  # one query is too little work to be shared
        need = params.offset + params.k + 1
        count = _MIN_CANDIDATES
        while count < need:
            count *= _GROWTH
        setting = self.description.indices[params.index].setting
        while True:
            scores, ids, exhausted = self._candidates(params.index, vector, count, setting)
            places = self._passed(ids, params)
            if len(places) >= need or exhausted or count >= MAX_CANDIDATES:
                break
            count = min(count * _GROWTH, MAX_CANDIDATES)
            setting = self._harder(params.index, setting)
        end = params.offset + params.k
        page = places[params.offset : end]
        rows = self.metadata.rows(ids[page])
        results = [
            Result(int(ids[place]), min(float(scores[place]), 1.0), row)  # float16 rounds up
            for place, row in zip(page, rows, strict=True)
        ]
        return SearchResults(results, end if len(places) > end else None)

    def _candidates(
        self, index: str, vector: Vectors, count: int, setting: Setting
    ) -> tuple[Vectors, Ids, bool]:
        """Up to `count` rows, best first; True when no row is left out."""
        count = min(count, len(self))
        query = np.ascontiguousarray(vector, np.float32)[np.newaxis]
        scores, ids = nearest(self._indices[index], self._vectors[index], query, count, setting)
        found = ids[0] >= 0
        return scores[0][found], ids[0][found], count == len(self)

    def _harder(self, index: str, setting: Setting) -> Setting:
        """Search more lists, where a setting gives no more candidates than its lists hold."""
        if self._indices[index].effort_name != "nprobe" or setting.effort is None:
            return setting
        return replace(setting, effort=setting.effort * _GROWTH)

    def _passed(self, ids: Ids, params: SearchParams) -> Sequence[int]:
        """Positions in `ids` of the rows that may be shown."""
        filters = params.filters
        if not self.description.tagged:
            filters = replace(filters, safe=False)
        columns = {name: self.metadata.column(ids, name) for name in filters.columns}
        places = np.flatnonzero(filters.passed(columns, len(ids)))
        if params.deduplicate:
            vectors = self._vectors[self._main_kind]
            blocks = (
                vectors.rows(ids[places[start : start + _COMPARED_AT_ONCE]])
                for start in range(0, len(places), _COMPARED_AT_ONCE)
            )
            places = places[without_near_duplicates(blocks, params.offset + params.k + 1)]
        return [int(place) for place in places]


def _open_error(folder: str, error: Exception) -> str:
    """What to tell people when the files of an index cannot be opened."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return (
            f"too many open files while reading the index (limit {limit}): raise it with "
            f"`ulimit -n {4 * limit}`"
        )
    return f"'{folder}' is damaged ({str(error).splitlines()[0]}): rebuild the index"
