"""Searches an index folder by vector, over images or texts, with filters, page by page.

All files are memory-mapped: opening a folder of any size takes little time and memory.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
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
    """What to find: `k` results after the first `offset`, among `image` or `text` embeddings.

    Attributes:
        min_similarity: cosine of a result, at least; None for any.
        excluded: a row that is no result: the one that is searched by.
    """

    index: str = "image"
    k: int = 20
    offset: int = 0
    filters: Filters = Filters()
    deduplicate: bool = False
    min_similarity: float | None = None
    excluded: int | None = None

    @property
    def candidates(self) -> int:
        """Rows to look at, at least: one more tells whether there is another page."""
        return self.offset + self.k + 1 + (self.excluded is not None)


class Result(NamedTuple):
    """One row. `similarity` is the cosine of the query and the row."""

    id: int
    similarity: float
    row: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Its JSON, as the command and the API give it."""
        row = self.row
        return {
            "id": self.id,
            "url": row["url"],
            "text": row["text"],
            "similarity": round(self.similarity, 4),
            "width": row["width"],
            "height": row["height"],
            "license": row["license"],
            "nsfw": row["nsfw"],
        }


@dataclass(frozen=True, slots=True)
class SearchResults:
    """One page of results. `next_offset` is where the next page begins; None on the last one."""

    results: list[Result]
    next_offset: int | None


@dataclass(slots=True)
class _Search:
    """A search that is in progress.

    Attributes:
        count, setting: how many rows are looked at next, and how.
        scores, ids: the rows looked at, best first.
        places: positions in `ids` of those that may be shown.
    """

    vector: Vectors
    params: SearchParams
    count: int
    setting: Setting
    scores: Vectors = field(default_factory=lambda: np.empty(0, np.float32))
    ids: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    places: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    done: bool = False


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
            kind: VectorFiles(
                (os.path.join(folder, array_name(kind, n)) for n in parts), cold=index.on_disk
            )
            for kind, index in self.description.indices.items()
        }
        self._indices: dict[str, AnnIndex] = {
            name: index_class(index.kind).load(os.path.join(folder, index.file), index.on_disk)
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
        return self.search_many([(vector, params)])[0]

    def search_many(self, queries: Sequence[tuple[Vectors, SearchParams]]) -> list[SearchResults]:
        """Search for each vector by its parameters, see `search`. Takes less time than one by one.

        Raises:
            UsageError: there is no such index.
        """
        searches = [self._begin(vector, params) for vector, params in queries]
        while not all(search.done for search in searches):
            self._examine_all([search for search in searches if not search.done])
        return self._results(searches)

    def search_first(
        self, queries: Sequence[tuple[Vectors, SearchParams]]
    ) -> list[SearchResults | None]:
        """Search as `search_many` among few rows: None where filters leave too few of them."""
        searches = [self._begin(vector, params) for vector, params in queries]
        self._examine_all(searches)
        found = iter(self._results([search for search in searches if search.done]))
        return [next(found) if search.done else None for search in searches]

    def _examine_all(self, searches: Sequence[_Search]) -> None:
        groups: dict[tuple[str, int, Setting], list[_Search]] = {}
        for search in searches:
            key = (search.params.index, search.count, search.setting)
            groups.setdefault(key, []).append(search)
        for (index, count, setting), group in groups.items():
            self._examine(group, index, count, setting)

    def _begin(self, vector: Vectors, params: SearchParams) -> _Search:
        if params.index not in self.kinds:
            raise UsageError(f"there is no {params.index} index, only {self.kinds[0]}")
        count = _MIN_CANDIDATES
        while count < params.candidates:
            count *= _GROWTH
        setting = self.description.indices[params.index].setting
        return _Search(vector, params, count, setting)

    def _examine(self, group: list[_Search], index: str, count: int, setting: Setting) -> None:
        """Look at the `count` best rows of each search; those that need more rows go on."""
        ann = self._indices[index]
        ann.set_threads(1)  # searches are too little work to be shared
        count = min(count, len(self))
        vectors = np.stack([search.vector for search in group]).astype(np.float32, copy=False)
        scores, ids = nearest(ann, self._vectors[index], vectors, count, setting)
        columns = self._filter_columns(group, ids)
        for line, search in enumerate(group):
            found = ids[line] >= 0
            search.scores, search.ids = scores[line][found], ids[line][found]
            mine = {name: values[line][found] for name, values in columns.items()}
            search.places = self._passed(search, mine)
            params = search.params
            search.done = (
                len(search.places) >= params.offset + params.k + 1
                or count == len(self)
                or count >= MAX_CANDIDATES
                or _is_below(search)
            )
            search.count = min(count * _GROWTH, MAX_CANDIDATES)
            search.setting = self._harder(index, setting)

    def _filter_columns(self, group: list[_Search], ids: Ids) -> dict[str, npt.NDArray[Any]]:
        """The filter columns that any search of a group needs, each as `ids` [searches, rows]."""
        names = {name for search in group for name in self._filters(search.params).columns}
        rows = np.maximum(ids, 0).ravel()  # -1 stands for no row
        return {name: self.metadata.column(rows, name).reshape(ids.shape) for name in names}

    def _results(self, searches: Sequence[_Search]) -> list[SearchResults]:
        """Read the rows of all pages at once."""
        pages = []
        for search in searches:
            start, k = search.params.offset, search.params.k
            pages.append(search.places[start : start + k])
        ids = [search.ids[page] for search, page in zip(searches, pages, strict=True)]
        rows = iter(self.metadata.rows(np.concatenate(ids) if ids else np.empty(0, np.int64)))
        found = []
        for search, page, mine in zip(searches, pages, ids, strict=True):
            scores = np.minimum(search.scores[page], 1.0)  # float16 rounds up
            results = list(map(Result, mine.tolist(), scores.tolist(), islice(rows, len(page))))
            end = search.params.offset + search.params.k
            found.append(SearchResults(results, end if len(search.places) > end else None))
        return found

    def _harder(self, index: str, setting: Setting) -> Setting:
        """Search more lists, where a setting gives no more candidates than its lists hold."""
        if self._indices[index].effort_name != "nprobe" or setting.effort is None:
            return setting
        return replace(setting, effort=setting.effort * _GROWTH)

    def _filters(self, params: SearchParams) -> Filters:
        """The filters that apply: without any tags, safe mode has no effect."""
        if self.description.tagged:
            return params.filters
        return replace(params.filters, safe=False)

    def _passed(
        self, search: _Search, columns: dict[str, npt.NDArray[Any]]
    ) -> npt.NDArray[np.int64]:
        """Positions in `search.ids` of the rows that may be shown."""
        params, ids = search.params, search.ids
        mask = self._filters(params).passed(columns, len(ids))
        if params.min_similarity is not None:
            mask &= search.scores >= params.min_similarity
        if params.excluded is not None:
            mask &= ids != params.excluded
        places = np.flatnonzero(mask)
        if params.deduplicate:
            vectors = self._vectors[self._main_kind]
            blocks = (
                vectors.rows(ids[places[start : start + _COMPARED_AT_ONCE]])
                for start in range(0, len(places), _COMPARED_AT_ONCE)
            )
            places = places[without_near_duplicates(blocks, params.offset + params.k + 1)]
        return places


def _is_below(search: _Search) -> bool:
    """Whether all rows that were not looked at are below the least similarity."""
    least = search.params.min_similarity
    return least is not None and bool(len(search.scores)) and bool(search.scores[-1] < least)


def _open_error(folder: str, error: Exception) -> str:
    """What to tell people when the files of an index cannot be opened."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return (
            f"too many open files while reading the index (limit {limit}): raise it with "
            f"`ulimit -n {4 * limit}`"
        )
    return f"'{folder}' is damaged ({str(error).splitlines()[0]}): rebuild the index"
