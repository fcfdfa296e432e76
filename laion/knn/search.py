"""Searching an index folder: by a vector, over pictures or texts, with filters, page by page.

Everything is memory-mapped: opening a folder of any size takes no time and no memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from img2ds.core.failure import UsageError
from laion.knn.ann import Ann, set_threads
from laion.knn.description import array_name, read_description, rows_name
from laion.knn.filters import Filters, first_of_its_kind
from laion.knn.metadata import Metadata
from laion.knn.ranking import Setting, nearest
from laion.knn.vectors import VectorFiles, Vectors

#: Candidates that are looked at for one answer, at most: filters that let fewer pass end there.
MOST_CANDIDATES = 16_384

#: Candidates asked for at first. Counts are these times powers of 4, so that the pages of one
#: question see the same candidates in the same order.
_LEAST_CANDIDATES = 128
_GROWTH = 4

#: Vectors read at once while near-duplicates are looked for.
_COMPARED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to find: `k` results after the first `offset`, among `image` or `text` embeddings."""

    index: str = "image"
    k: int = 20
    offset: int = 0
    filters: Filters = Filters()
    deduplicate: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """One row that was found. `similarity` is the cosine of the question and the row."""

    id: int
    similarity: float
    row: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """As the API gives it."""
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
class Found:
    """Results, and the offset of those that follow; None where there are no more."""

    results: list[Result]
    next_offset: int | None


class Searcher:
    """An open index folder. Any number of threads may search it.

    Raises:
        UsageError: the folder holds no finished index, or its files are damaged.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.description = read_description(folder)
        self.kinds: tuple[str, ...] = tuple(self.description.indices)
        parts = self.description.parts
        try:
            self.metadata = Metadata(os.path.join(folder, rows_name(n)) for n in parts)
            self._vectors = {
                kind: VectorFiles(os.path.join(folder, array_name(kind, n)) for n in parts)
                for kind in self.kinds
            }
        except (OSError, ValueError, pa.ArrowException) as error:
            words = str(error).splitlines()[0]
            raise UsageError(f"{folder} is damaged ({words}): make the index again") from None
        self._indices = {
            kind: Ann.load(os.path.join(folder, index.file))
            for kind, index in self.description.indices.items()
        }
        for kind in self.kinds:
            counts = {len(self._indices[kind]), len(self._vectors[kind]), len(self.metadata)}
            if counts != {self.description.rows}:
                raise UsageError(f"{folder} is damaged (rows of {kind} differ): make it again")

    def __len__(self) -> int:
        return self.description.rows

    def vector(self, row_id: int) -> Vectors:
        """The vector of a row to search by: its picture's, else its text's. Raises IndexError."""
        if not 0 <= row_id < len(self):
            raise IndexError(
                f"there is no row {row_id}: they are numbered from 0 to {len(self) - 1}"
            )
        kind = "image" if "image" in self.kinds else self.kinds[0]
        found: Vectors = self._vectors[kind].rows(np.array([row_id], np.int64))[0]
        return found

    def find(self, vector: Vectors, wanted: Wanted) -> Found:
        """The rows most similar to `vector`, a unit vector of the index's dimension.

        Raises:
            UsageError: there is no such index.
        """
        if wanted.index not in self.kinds:
            raise UsageError(f"there is no {wanted.index} index here, only {self.kinds[0]}")
        set_threads(1)  # one question is too little to be shared out among threads
        need = wanted.offset + wanted.k + 1
        count = _LEAST_CANDIDATES
        while count < need:
            count *= _GROWTH
        setting = self.description.indices[wanted.index].setting
        while True:
            scores, ids, exhausted = self._candidates(wanted.index, vector, count, setting)
            places = self._passed(ids, wanted)
            if len(places) >= need or exhausted or count >= MOST_CANDIDATES:
                break
            count = min(count * _GROWTH, MOST_CANDIDATES)
            setting = self._harder(wanted.index, setting)
        page = places[wanted.offset : wanted.offset + wanted.k]
        rows = self.metadata.rows(ids[page])
        results = [
            Result(int(ids[place]), min(float(scores[place]), 1.0), row)  # float16 rounds up
            for place, row in zip(page, rows, strict=True)
        ]
        more = len(places) > wanted.offset + wanted.k
        return Found(results, wanted.offset + wanted.k if more else None)

    def _candidates(
        self, index: str, vector: Vectors, count: int, setting: Setting
    ) -> tuple[Vectors, npt.NDArray[np.int64], bool]:
        """Up to `count` rows, best first; True when they are all that there are."""
        count = min(count, len(self))
        question = np.ascontiguousarray(vector, np.float32)[np.newaxis]
        scores, ids = nearest(self._indices[index], self._vectors[index], question, count, setting)
        there = ids[0] >= 0
        return scores[0][there], ids[0][there], count == len(self)

    def _harder(self, index: str, setting: Setting) -> Setting:
        """More lists to look into, where a setting gives no more candidates than its lists hold."""
        if self._indices[index].effort_name != "nprobe" or setting.effort is None:
            return setting
        return replace(setting, effort=setting.effort * _GROWTH)

    def _passed(self, ids: npt.NDArray[np.int64], wanted: Wanted) -> Sequence[int]:
        """Places in `ids` of the rows that may be shown."""
        filters = wanted.filters
        if not self.description.tagged:
            filters = replace(filters, safe=False)
        columns = {name: self.metadata.numbers(ids, name) for name in filters.columns}
        places = np.flatnonzero(filters.passed(columns, len(ids)))
        if wanted.deduplicate:
            kind = "image" if "image" in self.kinds else self.kinds[0]
            blocks = (
                self._vectors[kind].rows(ids[places[start : start + _COMPARED_AT_ONCE]])
                for start in range(0, len(places), _COMPARED_AT_ONCE)
            )
            places = places[first_of_its_kind(blocks, wanted.offset + wanted.k + 1)]
        return [int(place) for place in places]
